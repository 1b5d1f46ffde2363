package dev.podium;

/** The server is full or overloaded, or something is too large. */
public final class ResourceExhaustedException extends PodiumException {
  private static final long serialVersionUID = 1L;

  ResourceExhaustedException(Details details) {
    super(details);
  }
}
