package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tidegate/tidegate/api/auth"
)

// CAKeyFile is the name of the authority's key in its own directory; the certificate beside it is auth.CAFile.
const CAKeyFile = "ca-key.pem"

// ErrExists is returned instead of overwriting.
var ErrExists = errors.New("file exists already")

// Write puts the bundle into dir as ca.pem, cert.pem and key.pem, making dir (0700) if it is missing. Keys are
// readable by their owner only. Unless overwrite is set nothing is written when one of the files exists, and the
// error wraps ErrExists. Each file appears whole or not at all; the certificate comes last.
func (b *Bundle) Write(dir string, overwrite bool) error {
	return write(dir, overwrite, []file{{auth.CAFile, b.CA, 0o644}, {auth.KeyFile, b.Key, 0o600}, {auth.CertFile, b.Cert, 0o644}})
}

// Write puts the authority into dir as ca.pem and ca-key.pem, in the manner of (*Bundle).Write.
func (ca *CA) Write(dir string, overwrite bool) error {
	cert, key, err := ca.PEM()
	if err != nil {
		return err
	}
	return write(dir, overwrite, []file{{CAKeyFile, key, 0o600}, {auth.CAFile, cert, 0o644}})
}

// ReadCA reads the authority that (*CA).Write has put into dir.
func ReadCA(dir string) (*CA, error) {
	cert, err := os.ReadFile(filepath.Join(dir, auth.CAFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read the authority: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(dir, CAKeyFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read the authority's key: %w", err)
	}
	return ParseCA(cert, key)
}

type file struct {
	name string
	data []byte
	mode fs.FileMode
}

func write(dir string, overwrite bool, files []file) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make directory %q: %w", dir, err)
	}
	if !overwrite {
		for _, f := range files {
			if _, err := os.Lstat(filepath.Join(dir, f.name)); err == nil {
				return fmt.Errorf("cannot write %q: %w", filepath.Join(dir, f.name), ErrExists)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("cannot look for %q: %w", filepath.Join(dir, f.name), err)
			}
		}
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(dir, f.name), f, overwrite); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes beside path and then puts the file in place: by rename, or by a link that fails when somebody
// else was quicker.
func writeFile(path string, f file, overwrite bool) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+f.name+"-*") // 0600
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already after a rename
	_, err = tmp.Write(f.data)
	if err == nil {
		err = tmp.Chmod(f.mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		if overwrite {
			err = os.Rename(tmp.Name(), path)
		} else {
			err = os.Link(tmp.Name(), path)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot write %q: %w", path, ErrExists)
	}
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	return nil
}
