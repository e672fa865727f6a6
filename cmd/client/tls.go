package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tidegate/tidegate/api/auth"
)

// loadTLS reads the certificate in dir. What is wrong with it is the caller's to mend, so it is a *UsageError.
func loadTLS(dir string) (*tls.Config, error) {
	cfg, _, _, err := auth.ClientTLS(auth.FilesIn(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &UsageError{Text: fmt.Sprintf("%s; --tls-dir (TIDEGATE_TLS_DIR) must be a directory with %s, %s and %s", err, auth.CAFile, auth.CertFile, auth.KeyFile)}
	case err != nil:
		return nil, &UsageError{Text: err.Error()}
	default:
		return cfg, nil
	}
}
