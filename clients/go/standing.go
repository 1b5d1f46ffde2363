package podium

import (
	"slices"

	"google.golang.org/protobuf/proto"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// meaning is what the registry says that one reference means: a target, or why there is none. The warnings are those of a
// version that may not serve.
type meaning struct {
	target   *podiumv1.Target
	absence  podiumv1.Absence
	warnings []string
}

// standing is whether the watch is up, what it said last, if anything, and whether that came after history was cut.
type standing struct {
	connected bool
	meaning   *meaning
	restored  bool
}

// after is what is true once a step of a watch about nothing else has been read. An ordinary change ends restored.
func (s standing) after(step Step) standing {
	said := meaningOf(step)
	snapshot, is := step.(*Snapshot)
	s.restored = is && (snapshot.Restored || s.restored && s.meaning.equals(said))
	s.meaning = said
	return s
}

// target is what the reference means, as far as is known.
func (s standing) target() *podiumv1.Target {
	if s.meaning == nil {
		return nil
	}
	return s.meaning.target
}

func (s standing) state() State {
	switch {
	case !s.connected:
		return StateStale
	case s.meaning != nil && s.meaning.target == nil && s.meaning.absence == podiumv1.Absence_ABSENCE_UNSERVABLE:
		return StateUnservable
	case s.meaning != nil && s.meaning.target == nil:
		return StateGone
	case s.restored:
		return StateRestored
	}
	return StateConnected
}

func (m *meaning) equals(other *meaning) bool {
	return m != nil && proto.Equal(m.target, other.target) && m.absence == other.absence &&
		slices.Equal(m.warnings, other.warnings)
}

func meaningOf(step Step) *meaning {
	switch step := step.(type) {
	case *Changes:
		last := step.Events[len(step.Events)-1]
		return &meaning{last.GetAfter().GetTarget(), last.GetAbsence(), last.GetWarnings()}
	case *Snapshot:
		if len(step.References) > 0 {
			reference := step.References[0]
			return &meaning{reference.GetTarget(), reference.GetAbsence(), reference.GetWarnings()}
		}
	}
	return &meaning{absence: podiumv1.Absence_ABSENCE_GONE}
}
