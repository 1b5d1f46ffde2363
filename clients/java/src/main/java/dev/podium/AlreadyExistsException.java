package dev.podium;

/** The name is taken, by something else. */
public final class AlreadyExistsException extends PodiumException {
  private static final long serialVersionUID = 1L;

  AlreadyExistsException(Details details) {
    super(details);
  }
}
