package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"l4d2-host/internal/instance"
)

// BackupPath returns a new name for a backup of n that is made at t, ending in
// extension, in the directory of the backups, which it makes if it is missing.
func (s *Store) BackupPath(n instance.Name, t time.Time, extension string) (string, error) {
	dir := s.Layout.Backups()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := rootOwned(dir); err != nil {
		return "", err
	}
	// No colons: tar would take what is before one for a host.
	stem := filepath.Join(dir, string(n)+"-"+t.UTC().Format("2006-01-02T150405Z"))
	for i := 1; ; i++ {
		path := stem + extension
		if i > 1 {
			path = fmt.Sprintf("%s-%d%s", stem, i, extension)
		}
		if found, err := present(path); !found {
			return path, err
		}
	}
}
