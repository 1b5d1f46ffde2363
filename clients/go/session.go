package podium

import (
	"errors"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// session is the newest position that a client has seen. It sees no less of the registry from then on, whichever server answers.
type session struct {
	mu   sync.Mutex
	seen string
}

// reader is a request that can say what its answer must show.
type reader interface {
	proto.Message
	GetAtLeast() string
}

func (s *session) position() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// see takes note of a position that the registry told, empty for none: of two, the newer one is the greater string.
func (s *session) see(position string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = max(s.seen, position)
}

// forget lets go of a position, unless there is another one by now.
func (s *session) forget(position string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == position {
		s.seen = ""
	}
}

// ask makes a call show what was seen, unless whoever calls says what it must show. Where the registry's history does not have
// that any more, it is asked once more without.
func (s *session) ask(request any, call func(request any) error) error {
	read, is := request.(reader)
	seen := s.position()
	if !is || seen == "" || read.GetAtLeast() != "" {
		return call(request)
	}
	err := call(showing(read, seen))
	if !isUnknownPosition(err) {
		return err
	}
	s.forget(seen)
	return call(request)
}

// showing is the same request, about what holds at a position or later.
func showing(read reader, position string) proto.Message {
	copied := proto.Clone(read)
	field := copied.ProtoReflect().Descriptor().Fields().ByName("at_least")
	copied.ProtoReflect().Set(field, protoreflect.ValueOfString(position))
	return copied
}

// isUnknownPosition says whether a position leads nowhere, which may be no position to another registry.
func isUnknownPosition(err error) bool {
	var told *Error
	return errors.As(err, &told) && (told.Reason == "POSITION_UNKNOWN" || hasField(err, "at_least"))
}
