package dev.podium;

/** The server's bytes are no longer what they were. */
public final class DataLossException extends PodiumException {
  private static final long serialVersionUID = 1L;

  DataLossException(Details details) {
    super(details);
  }
}
