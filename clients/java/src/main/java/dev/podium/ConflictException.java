package dev.podium;

/** Somebody else was first; the metadata's {@code current} is what is there now. */
public final class ConflictException extends PodiumException {
  private static final long serialVersionUID = 1L;

  ConflictException(Details details) {
    super(details);
  }
}
