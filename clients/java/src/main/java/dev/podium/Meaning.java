package dev.podium;

import dev.podium.v1.Absence;
import dev.podium.v1.Event;
import dev.podium.v1.Reference;
import java.util.List;

/** What a reference means: a target, or why there is none; the warnings are those of a version that may not serve. */
record Meaning(Target target, Absence absence, List<String> warnings) {

  /** What a step of a watch about nothing else says. */
  static Meaning of(Watch.Step step) {
    if (step instanceof Watch.Changes changes) {
      Event last = changes.events().get(changes.events().size() - 1);
      Target target = last.hasAfter() && last.getAfter().hasTarget() ? Target.of(last.getAfter().getTarget()) : null;
      return new Meaning(target, last.getAbsence(), List.copyOf(last.getWarningsList()));
    }
    List<Reference> references = ((Watch.Snapshot) step).references();
    if (references.isEmpty()) {
      return new Meaning(null, Absence.ABSENCE_GONE, List.of());
    }
    if (references.size() > 1) {
      throw new HostileServerException("the server says of one reference that it is " + references.size());
    }
    Reference reference = references.get(0);
    Target target = reference.hasTarget() ? Target.of(reference.getTarget()) : null;
    return new Meaning(target, reference.getAbsence(), List.copyOf(reference.getWarningsList()));
  }
}
