package cache

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	fileMode   fs.FileMode = 0o444
	folderMode fs.FileMode = 0o555
)

// fileTime is the modification time of every whole file: whoever writes to one changes it.
var fileTime = time.Unix(1_000_000_000, 0)

// noLink says where a hard link cannot be made: file systems without, files that have as many as can be, or of another user.
var noLink = []error{
	syscall.EMLINK, syscall.EPERM, syscall.EACCES, syscall.EXDEV, syscall.EOPNOTSUPP, syscall.ENOSYS,
}

// seal makes a complete file read-only and durable, with the time that says so.
func seal(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return errors.Join(file.Chmod(fileMode), os.Chtimes(path, fileTime, fileTime), file.Sync())
}

// BreakSeal marks a regular file that was found damaged, and all hard links to it, so that the next pull replaces it.
func BreakSeal(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

// isSealed says whether a file is still as it was sealed, as far as its size, mode and time tell.
func isSealed(path string, size int64) bool {
	status, err := os.Lstat(path)
	return err == nil && looksSealed(status, size)
}

func looksSealed(status fs.FileInfo, size int64) bool {
	// Mode() of a regular file has no other bits than the permissions: no setuid, no sticky, no kind.
	return status.Mode() == fileMode && status.Size() == size && status.ModTime().Equal(fileTime)
}

// hasExactly says whether a folder holds these sealed files (path → size in bytes) and no others.
func hasExactly(folder string, files map[string]int64) bool {
	seen := 0
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		inside, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		status, err := entry.Info()
		if err != nil {
			return err
		}
		if size, known := files[filepath.ToSlash(inside)]; !known || !looksSealed(status, size) {
			return errDamaged
		}
		seen++
		return nil
	})
	status, statErr := os.Lstat(folder)
	return err == nil && statErr == nil && status.IsDir() && seen == len(files)
}

var errDamaged = errors.New("podium: a version in the cache is not as it was left")

// build lets fill make the content of a new folder, which then takes this one's place, whole or not at all.
func build(folder string, fill func(folder string) error) error {
	made, old := folder+".new", folder+".old"
	if err := errors.Join(remove(made), remove(old), os.MkdirAll(made, 0o777)); err != nil {
		return err
	}
	if err := fill(made); err != nil {
		return errors.Join(err, remove(made))
	}
	if err := closeFolders(made); err != nil {
		return err
	}
	if _, err := os.Lstat(folder); err == nil {
		if err := os.Rename(folder, old); err != nil {
			return err
		}
	}
	if err := os.Rename(made, folder); err != nil {
		return err
	}
	return remove(old)
}

// closeFolders makes all folders read-only, the inner ones first.
func closeFolders(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := closeFolders(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	return os.Chmod(folder, folderMode)
}

// Link gives a sealed file another name, or copies it where that cannot be.
func Link(source, target string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
		return err
	}
	err := os.Link(source, target)
	for _, reason := range noLink {
		if errors.Is(err, reason) {
			return errors.Join(Copy(source, target), seal(target))
		}
	}
	return err
}

// Copy makes a new file with the same bytes, by reference where the file system can.
func Copy(source, target string) error {
	from, err := os.Open(source)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// remove removes a file or a folder, read-only or not, if it is there. Links are removed, not followed.
func remove(path string) error {
	status, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !status.IsDir() {
		return errors.Join(err, os.Remove(path))
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := remove(filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return os.Remove(path)
}
