package dev.podium;

/** A rule says no: a transition, blobs that are missing, a version that may not serve. */
public final class FailedPreconditionException extends PodiumException {
  private static final long serialVersionUID = 1L;

  FailedPreconditionException(Details details) {
    super(details);
  }
}
