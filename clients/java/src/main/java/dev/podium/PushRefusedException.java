package dev.podium;

/** What should be pushed cannot be pushed as it is; the message says what to do. */
public final class PushRefusedException extends PodiumException {
  private static final long serialVersionUID = 1L;

  PushRefusedException(String message) {
    super(Details.of(message));
  }
}
