package dev.podium;

/** No server is there, it is stopping, or it did not answer in time. The same call may work later. */
public final class UnavailableException extends PodiumException {
  private static final long serialVersionUID = 1L;

  UnavailableException(Details details) {
    super(details);
  }

  UnavailableException(String message) {
    super(Details.of(message));
  }
}
