package dev.podium;

/** The server failed; the metadata's {@code error_id}, if there is one, is in its log. */
public final class InternalErrorException extends PodiumException {
  private static final long serialVersionUID = 1L;

  InternalErrorException(Details details) {
    super(details);
  }
}
