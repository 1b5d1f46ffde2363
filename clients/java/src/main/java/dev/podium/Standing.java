package dev.podium;

import dev.podium.v1.Absence;

/** Whether the watch is up, what it said last (null if nothing), and whether that came after history was cut. */
record Standing(boolean connected, Meaning meaning, boolean restored) {
  static final Standing NOTHING = new Standing(false, null, false);

  /** What is true once a step has been read. An ordinary change ends {@code restored}. */
  Standing after(Watch.Step step) {
    Meaning next = Meaning.of(step);
    boolean still = step instanceof Watch.Snapshot snapshot && (snapshot.restored() || (restored && next.equals(meaning)));
    return new Standing(connected, next, still);
  }

  Standing connected(boolean now) {
    return new Standing(now, meaning, restored);
  }

  /** What the reference means, as far as is known. */
  Target target() {
    return meaning == null ? null : meaning.target();
  }

  /** See State: the first that holds. */
  State state() {
    if (!connected) {
      return State.STALE;
    }
    if (meaning != null && meaning.target() == null) {
      return meaning.absence() == Absence.ABSENCE_UNSERVABLE ? State.UNSERVABLE : State.GONE;
    }
    return restored ? State.RESTORED : State.CONNECTED;
  }
}
