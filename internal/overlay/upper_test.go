package overlay

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// By magic, as most of these can't be mounted here.
func TestUpperFileSystems(t *testing.T) {
	for magic, want := range map[int64]string{
		unix.EXT4_SUPER_MAGIC:  "",
		unix.XFS_SUPER_MAGIC:   "",
		unix.BTRFS_SUPER_MAGIC: "",
		unix.TMPFS_MAGIC:       "",
		unix.F2FS_SUPER_MAGIC:  "",
		0x2fc12fc1:             "", // ZFS carries one since 2.2
		0x794c7630:             "on an overlay",
		0x65735546:             "on a FUSE file system",
		0x6969:                 "on NFS",
		0xff534d42:             "on SMB", // cifs
		0xfe534d42:             "on SMB", // smb2, as ksmbd's clients show
		0x01021997:             "on 9p",
		0x4d44:                 "on FAT",
		0x2011bab0:             "on exFAT",
		0x7366746e:             "on NTFS",
		0x858458f6:             "on ramfs",
		0x73717368:             "on squashfs",
		0xf15f:                 "on eCryptfs",
	} {
		wantAdvised(t, checkFileSystem(unix.Statfs_t{Type: magic}), want)
	}
	wantAdvised(t, checkFileSystem(unix.Statfs_t{Type: unix.EXT4_SUPER_MAGIC, Flags: unix.ST_RDONLY}), "read-only")
}

func TestUpperFlags(t *testing.T) {
	for flags, want := range map[int]string{
		0:                    "",
		0x80000:              "", // extents, which every ext4 directory has
		flagImmutable:        "immutable or append-only",
		flagAppend | 0x80000: "immutable or append-only",
		flagCasefold:         "ignores the case",
	} {
		wantAdvised(t, checkFlags("upper", flags), want)
	}
}

// wantAdvised fails unless err says want, and what to do; "" is no error.
func wantAdvised(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), want) || advice.For(err) == "" {
		t.Errorf("error %v with the advice %q, want %q", err, advice.For(err), want)
	}
}
