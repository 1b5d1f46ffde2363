package dev.podium;

/** An offset that does not fit, or a position of another history. */
public final class OutOfRangeException extends PodiumException {
  private static final long serialVersionUID = 1L;

  OutOfRangeException(Details details) {
    super(details);
  }
}
