package bgp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// The order to stay out is kept in a small file. Somebody wanted everything withdrawn, so a file that cannot be read
// means the same as one that can: only its absence lets the speaker announce.

// maxOutFile is how much of the file is read, in octets.
const maxOutFile = 64 << 10

// outRecord is the content of the file.
type outRecord struct {
	Version int       `json:"version"`
	Since   time.Time `json:"since"`
	By      string    `json:"by"`
	Reason  string    `json:"reason"`
}

// outVersion is the version of outRecord that is written; others are not understood.
const outVersion = 1

// readOut returns the order in the file, or nil if there is no file.
func readOut(path string) *wanted.Out {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var data []byte
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(f, maxOutFile))
		err = errors.Join(err, f.Close())
	}
	var o wanted.Out
	if err == nil {
		o, err = parseOut(data)
	}
	if err != nil {
		return &wanted.Out{
			Reason:  "unknown: an order to stay out was kept, and cannot be read",
			Trouble: fmt.Sprintf("cannot read the order to stay out in %q, so this node stays out: %v", path, err),
		}
	}
	return &o
}

// parseOut is the inverse of formatOut.
func parseOut(data []byte) (wanted.Out, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var r outRecord
	if err := d.Decode(&r); err != nil {
		return wanted.Out{}, fmt.Errorf("it is damaged: %w", err)
	}
	switch {
	case d.More():
		return wanted.Out{}, errors.New("it is damaged: there is more in it than an order")
	case r.Version != outVersion:
		return wanted.Out{}, fmt.Errorf("it has version %d, and this program knows version %d", r.Version, outVersion)
	case r.By == "" || r.Since.IsZero():
		return wanted.Out{}, errors.New("it is damaged: it does not say who gave the order and when")
	}
	return wanted.Out{Since: r.Since, By: r.By, Reason: r.Reason}, nil
}

func formatOut(o wanted.Out) ([]byte, error) {
	b, err := json.Marshal(outRecord{Version: outVersion, Since: o.Since, By: o.By, Reason: o.Reason})
	return append(b, '\n'), err
}

// writeOut keeps the order in the file: when it returns nil it is on the disk, whole.
func writeOut(path string, o wanted.Out) error {
	if path == "" {
		return nil
	}
	data, err := formatOut(o)
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	return ReplaceFile(path, data)
}

// removeOut removes the file, whatever is in it: when it returns nil it is gone from the disk too.
func removeOut(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the order to stay out: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// ReplaceFile makes data the content of the file at path, for its owner alone, or leaves it as it is: when it returns nil
// the content is on the disk, whole.
func ReplaceFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot write %q: %w", path, err), os.Remove(f.Name()))
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync directory %q: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("cannot sync directory %q: %w", dir, err)
	}
	return nil
}
