package podium

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/podium-registry/podium/clients/go/internal/cache"
	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// lastKnown is a version that was current, its stored files, and the position at which it was what the reference means.
type lastKnown struct {
	target   *podiumv1.Target
	files    []*podiumv1.File
	position string
}

// record is the file in a folder that says what a reference of the registry at an address meant last. CACHE.md is its contract.
type record struct {
	folder     string
	Address    string `json:"address"`
	Reference  string `json:"reference"`
	ForServing bool   `json:"for_serving"`
}

// content is what is in it.
type content struct {
	record
	Position *string        `json:"position"`
	Target   *targetContent `json:"target"`
	Files    []fileContent  `json:"files"`
}

type targetContent struct {
	Model        string   `json:"model"`
	ModelUID     string   `json:"model_uid"`
	Number       int64    `json:"number"`
	Version      string   `json:"version"`
	Digest       string   `json:"digest"`
	RecordDigest string   `json:"record_digest"`
	Stage        string   `json:"stage"`
	Servable     bool     `json:"servable"`
	Warnings     []string `json:"warnings"`
}

type fileContent struct {
	Path      string `json:"path"`
	Digest    string `json:"digest"`
	SizeBytes *int64 `json:"size_bytes"`
}

func (r record) stem() string {
	what := "any"
	if r.ForServing {
		what = "serving"
	}
	key := sha256.Sum256([]byte(r.Address + "\n" + r.Reference + "\n" + what))
	return filepath.Join(r.folder, hex.EncodeToString(key[:]))
}

func (r record) path() string { return r.stem() + ".json" }

// read returns nil if it is not there, or makes no sense.
func (r record) read() *lastKnown {
	path := r.path()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var known *lastKnown
	if err == nil {
		known, err = r.parse(text)
	}
	if err != nil {
		slog.Warn("podium: what was followed last cannot be read", "reference", r.Reference, "path", path, "error", err)
		return nil
	}
	return known
}

// parse takes nothing for granted: a file is not there or whole, but somebody may have changed it.
func (r record) parse(text []byte) (*lastKnown, error) {
	var found content
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, err
	}
	found.folder = r.folder
	switch {
	case found.record != r:
		return nil, errors.New("it is another reference's")
	case found.Target == nil || found.Position == nil:
		return nil, errors.New("something is left out")
	}
	known := &lastKnown{target: found.Target.message(), position: *found.Position}
	for _, file := range found.Files {
		if file.SizeBytes == nil {
			return nil, errors.New("a size is left out")
		}
		known.files = append(known.files, &podiumv1.File{Path: file.Path, Digest: file.Digest, SizeBytes: file.SizeBytes})
	}
	if err := checkFiles(known.files, pinned(known.target)); err != nil {
		return nil, err
	}
	if manifestDigest(known.files) != known.target.GetDigest() {
		return nil, errors.New("its files are not those of its digest")
	}
	return known, nil
}

// lately is what this process wrote last into each record: followers of the same reference write what they all say once.
var lately = struct {
	sync.Mutex
	written map[string]*writing
}{written: make(map[string]*writing)}

type writing struct {
	mu     sync.Mutex
	target *podiumv1.Target
	file   fs.FileInfo
}

// keep writes what is known; where the record is one that this process wrote about the same target, only if it is to be anew,
// with the position of now.
func (r record) keep(known *lastKnown, anew bool) error {
	lately.Lock()
	last := lately.written[r.path()]
	if last == nil {
		last = new(writing)
		lately.written[r.path()] = last
	}
	lately.Unlock()
	last.mu.Lock()
	defer last.mu.Unlock()
	if !anew && proto.Equal(last.target, known.target) && isStill(r.path(), last.file) {
		return nil
	}
	if err := r.write(known); err != nil {
		return err
	}
	file, err := os.Lstat(r.path())
	last.target, last.file = known.target, file
	return err
}

// isStill says whether nobody replaced a file since it was looked at.
func isStill(path string, before fs.FileInfo) bool {
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(now, before) && now.ModTime().Equal(before.ModTime())
}

// write replaces what it says, durably.
func (r record) write(known *lastKnown) (err error) {
	said := content{record: r, Position: &known.position, Target: contentOf(known.target), Files: []fileContent{}}
	for _, file := range known.files {
		said.Files = append(said.Files, fileContent{file.GetPath(), file.GetDigest(), file.SizeBytes})
	}
	text, err := json.MarshalIndent(said, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.folder, 0o777); err != nil {
		return err
	}
	file, err := os.CreateTemp(r.folder, filepath.Base(r.stem())+".*.new")
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), r.path())
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

func contentOf(target *podiumv1.Target) *targetContent {
	return &targetContent{
		Model:        target.GetModel(),
		ModelUID:     target.GetModelUid(),
		Number:       target.GetNumber(),
		Version:      target.GetVersion(),
		Digest:       target.GetDigest(),
		RecordDigest: target.GetRecordDigest(),
		Stage:        target.GetStage(),
		Servable:     target.GetServable(),
		Warnings:     append([]string{}, target.GetWarnings()...),
	}
}

func (t *targetContent) message() *podiumv1.Target {
	return &podiumv1.Target{
		Model:        t.Model,
		ModelUid:     t.ModelUID,
		Number:       t.Number,
		Version:      t.Version,
		Digest:       t.Digest,
		RecordDigest: t.RecordDigest,
		Stage:        t.Stage,
		Servable:     t.Servable,
		Warnings:     t.Warnings,
	}
}

// isWhole reads all bytes of the version's folder in the cache, and says whether they are its bytes. Where they are not, the
// seals are broken, so that the next pull replaces them.
func (k *lastKnown) isWhole(ctx context.Context, folder string) bool {
	err := errors.Join(each(ctx, k.files, func(ctx context.Context, file *podiumv1.File) error {
		return verify(ctx, file, filepath.Join(folder, filepath.FromSlash(file.GetPath())))
	}), k.noOthers(folder))
	if err != nil && ctx.Err() == nil {
		slog.Warn("podium: a version in the cache is damaged", "version", pinned(k.target), "error", err)
	}
	return err == nil
}

// verify reads a file, and breaks its seal if it has other bytes.
func verify(ctx context.Context, file *podiumv1.File, path string) error {
	status, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !status.Mode().IsRegular() || status.Size() != file.GetSizeBytes() {
		return fmt.Errorf("%s is not a file of %d bytes", path, file.GetSizeBytes())
	}
	content, err := os.Open(path)
	if err != nil {
		return err
	}
	defer content.Close()
	hash := sha256.New()
	if _, err := io.CopyBuffer(onlyWriter{hash}, &cancellable{ctx, content}, make([]byte, chunkBytes)); err != nil {
		return err
	}
	if "sha256:"+hex.EncodeToString(hash.Sum(nil)) != file.GetDigest() {
		return errors.Join(fmt.Errorf("%s has other bytes", path), cache.BreakSeal(path))
	}
	return nil
}

// noOthers returns an error for a file that the version does not have.
func (k *lastKnown) noOthers(folder string) error {
	known := make(map[string]bool)
	for _, file := range k.files {
		known[filepath.Join(folder, filepath.FromSlash(file.GetPath()))] = true
	}
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !known[path] {
			err = fmt.Errorf("%s is no file of it", path)
		}
		return err
	})
}
