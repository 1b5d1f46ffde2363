package podium

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/podium-registry/podium/clients/go/internal/ignore"
	"github.com/podium-registry/podium/clients/go/internal/paths"
)

const (
	ignoreFile = ".podiumignore"
	otherwise  = "rename it, or name it in " + ignoreFile
)

// sourceFile is a regular file, its path in the version, and what tells whether it changed since it was found.
type sourceFile struct {
	path   string
	source string
	found  fs.FileInfo
}

func (f sourceFile) size() int64 { return f.found.Size() }

// checkUnchanged returns PushRefused if the file is no longer what it was.
func (f sourceFile) checkUnchanged() error {
	now, err := os.Stat(f.source)
	if err == nil && os.SameFile(now, f.found) && now.Size() == f.found.Size() && now.ModTime().Equal(f.found.ModTime()) {
		return nil
	}
	return errorf(PushRefused, "%s changed while it was being pushed: push again when it is finished", f.path)
}

// folder is what a push takes of a path: the regular file there, or all of the folder that .podiumignore does not name, also
// behind links.
type folder struct {
	files   []sourceFile // sorted by path
	leftOut []string     // empty folders, which no version can hold
	ignored ignore.Patterns
}

// scan returns PushRefused for what cannot be pushed, and says what to do.
func scan(path string) (*folder, error) {
	found := &folder{}
	status, err := statusOf(path, path)
	if err != nil {
		return nil, err
	}
	if status.IsDir() {
		if found.ignored, err = readPatterns(filepath.Join(path, ignoreFile)); err == nil {
			err = found.walk(path, "", []fs.FileInfo{status})
		}
	} else {
		var absolute string
		if absolute, err = filepath.Abs(path); err == nil {
			err = found.add(filepath.Base(absolute), path, status)
		}
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found.files, func(a, b sourceFile) int { return strings.Compare(a.path, b.path) })
	return found, found.check(path)
}

// walk takes the content of a folder; above are the folders on the way to it, and itself.
func (f *folder) walk(source, prefix string, above []fs.FileInfo) error {
	entries, err := os.ReadDir(source)
	if err != nil {
		return refused(err, cmp.Or(prefix, source), "cannot be read")
	}
	if len(entries) == 0 {
		f.leftOut = append(f.leftOut, prefix)
	}
	for _, entry := range entries {
		path := prefix + entry.Name()
		if path == ignoreFile || f.ignored.Match(path, false) {
			continue
		}
		inside := filepath.Join(source, entry.Name())
		status, err := statusOf(inside, path)
		switch {
		case err != nil:
			return err
		case !status.IsDir():
			err = f.add(path, inside, status)
		case !f.ignored.Match(path, true):
			err = f.enter(path, inside, status, above)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) enter(path, source string, status fs.FileInfo, above []fs.FileInfo) error {
	if err := checkName(path); err != nil {
		return err
	}
	if slices.ContainsFunc(above, func(one fs.FileInfo) bool { return os.SameFile(one, status) }) {
		return errorf(PushRefused, "%q is a link to a folder that it is in: remove it, or name it in %s", path, ignoreFile)
	}
	return f.walk(source, path+"/", append(slices.Clip(above), status))
}

func (f *folder) add(path, source string, status fs.FileInfo) error {
	if kind := kindOf(status.Mode()); kind != "" {
		return errorf(PushRefused, "%q is %s, not a file: remove it, or name it in %s", path, kind, ignoreFile)
	}
	if err := checkName(path); err != nil {
		return err
	}
	f.files = append(f.files, sourceFile{path, source, status})
	if len(f.files) > paths.MaxFiles {
		return errorf(PushRefused, "there are more than %d files: pack some together", paths.MaxFiles)
	}
	return nil
}

// check says what the files must be together.
func (f *folder) check(path string) error {
	var names []string
	total := 0
	for _, file := range f.files {
		names = append(names, file.path)
		total += len(file.path)
	}
	if len(names) == 0 {
		return errorf(PushRefused, "%q has no files to push", path)
	}
	if one, other, found := paths.Clash(names); found {
		return errorf(PushRefused, "%q and %q are the same where case is ignored: rename one", one, other)
	}
	if total > paths.MaxPathsBytes {
		return errorf(PushRefused, "all paths together have more than %d bytes: shorten them", paths.MaxPathsBytes)
	}
	return nil
}

func (f *folder) size() int64 {
	var total int64
	for _, file := range f.files {
		total += file.size()
	}
	return total
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case !mode.IsRegular():
		return "a device"
	}
	return ""
}

func checkName(path string) error {
	if wrong := paths.Fault(path); wrong != "" {
		return errorf(PushRefused, "the path %q %s: %s", path, wrong, otherwise)
	}
	return nil
}

func readPatterns(path string) (ignore.Patterns, error) {
	if status, err := os.Stat(path); err != nil || !status.Mode().IsRegular() {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	patterns, err := ignore.Parse(string(text))
	if err != nil {
		return nil, errorf(PushRefused, "%q: %s", path, err)
	}
	return patterns, nil
}

// statusOf tells what is behind all links.
func statusOf(path, shown string) (fs.FileInfo, error) {
	status, err := os.Stat(path)
	if err == nil {
		return status, nil
	}
	if errors.Is(err, syscall.ELOOP) {
		return nil, errorf(PushRefused, "%q is a link that leads back to itself: remove it", shown)
	}
	if link, linkErr := os.Lstat(path); linkErr == nil && link.Mode()&fs.ModeSymlink != 0 {
		return nil, errorf(PushRefused, "%q is a link to nothing: remove it, or name it in %s", shown, ignoreFile)
	}
	return nil, refused(err, shown, "cannot be pushed")
}

// refused makes a PushRefused of what the file system of this machine said.
func refused(err error, shown, what string) error {
	var why syscall.Errno
	if errors.As(err, &why) {
		return errorf(PushRefused, "%q %s: %s", shown, what, why)
	}
	return errorf(PushRefused, "%q %s: %s", shown, what, err)
}
