package overlay

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

const otherFileSystem = "put the root on ext4, xfs, btrfs or tmpfs"

// cannotCarry names the file systems that the kernel refuses as upper, or that
// mount and then fail at a copy-up or a removal: they lack whiteouts, trusted
// extended attributes or a stable directory type. By statfs(2) magic; "" for all others.
func cannotCarry(magic int64) string {
	switch magic {
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "an overlay (a container's root?)"
	case unix.FUSE_SUPER_MAGIC:
		return "a FUSE file system"
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "SMB"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.MSDOS_SUPER_MAGIC:
		return "FAT"
	case unix.EXFAT_SUPER_MAGIC:
		return "exFAT"
	case 0x7366746e:
		return "NTFS"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.SQUASHFS_MAGIC:
		return "squashfs"
	case unix.ECRYPTFS_SUPER_MAGIC:
		return "eCryptfs"
	}
	return ""
}

func checkFileSystem(fs unix.Statfs_t) error {
	if name := cannotCarry(int64(fs.Type)); name != "" {
		return advice.With(fmt.Errorf("the upper directory is on %s, which can't carry an overlay's upper directory", name), otherFileSystem)
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return advice.With(errors.New("the upper directory is on a read-only mount"),
			"remount it read-write; if it went read-only by itself, see journalctl -k")
	}
	return nil
}

// The inode flags of linux/fs.h, as FS_IOC_GETFLAGS returns them.
const (
	flagImmutable = 0x10
	flagAppend    = 0x20
	flagCasefold  = 0x40000000
)

// checkFlags says why a directory with these flags cannot be the upper or the
// work directory.
func checkFlags(name string, flags int) error {
	switch {
	case flags&(flagImmutable|flagAppend) != 0:
		return advice.With(fmt.Errorf("the %s directory is immutable or append-only", name), "take the flag away with chattr -ia")
	case flags&flagCasefold != 0:
		// Refused by most kernels; where it is taken (Linux 6.17), only when
		// every layer ignores case alike.
		return advice.With(fmt.Errorf("the %s directory ignores the case of names (casefold)", name),
			"move its contents to a directory without the flag: it is inherited, and chattr -F takes it only from an empty one")
	}
	return nil
}

// checkTypes makes sure that directories on the file system of upper tell the
// types of what is in them. Without, the overlay mounts, and what was deleted
// shows up as a device node; the kernel only logs it. The target stands for
// the upper directory, which may be empty.
func checkTypes(upper int, target Target) error {
	var up, dir unix.Stat_t
	if err := unix.Fstat(upper, &up); err != nil {
		return &Error{Op: "stat upper", Err: err}
	}
	if err := unix.Fstat(target.Dir, &dir); err != nil {
		return &Error{Op: "stat above " + target.Path, Err: err}
	}
	if up.Dev != dir.Dev {
		return nil // not the instance's own directory: nothing there tells of upper
	}
	typed, err := tellsTypes(target.Dir)
	if err != nil {
		return &Error{Op: "read the directory of " + target.Path, Err: err}
	}
	if !typed {
		return errUntyped
	}
	return nil
}

var errUntyped = advice.With(errors.New("the upper directory is on a file system that keeps no file types in directories (ext4 without filetype, xfs with ftype=0)"),
	otherFileSystem+" made with today's defaults")

// CheckPlace returns why upper and work directories made in dir could not
// carry an overlay: what Check would find of them, before they exist. An empty
// directory does not tell whether it keeps file types. Every error carries
// advice.
func CheckPlace(dir int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return &Error{Op: "statfs", Err: err}
	}
	if err := checkFileSystem(fs); err != nil {
		return err
	}
	if flags, err := unix.IoctlGetInt(dir, unix.FS_IOC_GETFLAGS); err == nil {
		if err := checkFlags("runtime", flags); err != nil {
			return err
		}
	}
	empty, err := isEmpty(dir)
	if err != nil || empty {
		return err
	}
	typed, err := tellsTypes(dir)
	if err == nil && !typed {
		err = errUntyped
	}
	return err
}

func isEmpty(dir int) (bool, error) {
	empty := true
	err := eachEntry(dir, func(byte) bool {
		empty = false
		return false
	})
	return empty, err
}

// tellsTypes reports whether an entry of the directory has a type.
func tellsTypes(dir int) (bool, error) {
	typed := false
	err := eachEntry(dir, func(kind byte) bool {
		typed = kind != unix.DT_UNKNOWN
		return !typed
	})
	return typed, err
}

// eachEntry calls f with the type of each entry of the directory until that
// returns false. "." and ".." don't count: they have a type everywhere.
func eachEntry(dir int, f func(kind byte) bool) error {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var buf [1024]byte
	for {
		n, err := unix.Getdents(fd, buf[:])
		if n <= 0 || err != nil {
			return err
		}
		// struct linux_dirent64: inode and offset (8 bytes each), length of the
		// record (2), type (1), name with a NUL.
		const head = 19
		for b := buf[:n]; len(b) > head; {
			size := int(b[16]) | int(b[17])<<8
			if size <= head || size > len(b) {
				break
			}
			kind, name := b[18], unix.ByteSliceToString(b[head:size])
			if name != "." && name != ".." && !f(kind) {
				return nil
			}
			b = b[size:]
		}
	}
}
