package podium

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"sync"
)

const (
	aheadChunks = 4       // that wait for the disk
	worthAhead  = 4 << 20 // bytes
)

// sink is a partial file that grows: what is there is hashed, what comes is hashed and written by a goroutine behind the stream.
type sink struct {
	path string
	size int64 // how many bytes have come so far

	file    *os.File
	hash    hash.Hash
	piece   []byte         // what comes in many small buffers is hashed and written as one
	queue   chan incoming  // nil where that is not worth a goroutine
	waiting sync.WaitGroup // for what is in the queue
	mu      sync.Mutex
	failure error
}

// openSink opens a partial file that is to have so many bytes.
func openSink(path string, expected int64) (*sink, error) {
	// An earlier process may have ended just after it made the file read-only.
	if err := os.Chmod(path, 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return nil, onDisk(err, path)
	}
	s := &sink{path: path, file: file, hash: sha256.New(), piece: make([]byte, min(chunkBytes, max(expected, 1)))}
	s.size, err = io.CopyBuffer(onlyWriter{s.hash}, onlyReader{file}, s.piece)
	if err == nil && s.size > expected {
		err = s.restart()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	if expected-s.size >= worthAhead {
		s.queue = make(chan incoming, aheadChunks)
		go s.drain(s.queue)
	}
	return s, nil
}

// onlyWriter and onlyReader keep io.CopyBuffer from going past its buffer.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

// write takes the next bytes; a failure to write earlier ones may be returned here.
func (s *sink) write(chunk incoming) error {
	s.size += int64(chunk.size())
	if s.queue != nil {
		s.waiting.Add(1)
		s.queue <- chunk
	} else {
		s.append(chunk)
	}
	return s.failed()
}

// digest is that of the whole file, once all of it is written.
func (s *sink) digest() (string, error) {
	s.waiting.Wait()
	return "sha256:" + hex.EncodeToString(s.hash.Sum(nil)), s.failed()
}

// restart throws away what is there.
func (s *sink) restart() error {
	s.waiting.Wait()
	s.hash.Reset()
	s.size = 0
	return s.file.Truncate(0)
}

func (s *sink) close() error {
	if s.queue != nil {
		close(s.queue)
		s.waiting.Wait()
	}
	return s.file.Close()
}

func (s *sink) drain(queue <-chan incoming) {
	for chunk := range queue {
		s.append(chunk)
		s.waiting.Done()
	}
}

func (s *sink) append(chunk incoming) {
	defer chunk.data.Free()
	if s.failed() != nil {
		return
	}
	skip := chunk.start
	used := 0
	for _, buffer := range chunk.data {
		bytes := buffer.ReadOnlyData()
		bytes, skip = bytes[min(skip, len(bytes)):], max(skip-len(bytes), 0)
		for len(bytes) > 0 {
			if used == len(s.piece) {
				s.flush(used)
				used = 0
			}
			count := copy(s.piece[used:], bytes)
			bytes, used = bytes[count:], used+count
		}
	}
	s.flush(used)
}

func (s *sink) flush(used int) {
	s.hash.Write(s.piece[:used])
	if _, err := s.file.Write(s.piece[:used]); err != nil {
		s.mu.Lock()
		s.failure = onDisk(err, s.path)
		s.mu.Unlock()
	}
}

func (s *sink) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}
