package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tidegate/tidegate/api/auth"
)

// loadTLS reads the certificate, or the token, in dir. What is wrong with it is the caller's to mend, so it is a *UsageError.
func loadTLS(dir string) (*tls.Config, auth.Bearer, error) {
	cfg, bearer, _, err := auth.ClientFrom(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", &UsageError{Text: fmt.Sprintf("%s; --tls-dir (TIDEGATE_TLS_DIR) must be a directory with %s, %s and %s, or with %s and %s",
			err, auth.CAFile, auth.CertFile, auth.KeyFile, auth.CAFile, auth.TokenFile)}
	case err != nil:
		return nil, "", &UsageError{Text: err.Error()}
	default:
		return cfg, bearer, nil
	}
}
