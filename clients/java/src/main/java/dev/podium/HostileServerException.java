package dev.podium;

/** The server sent what no Podium server may send. Nothing of it was kept. */
public final class HostileServerException extends PodiumException {
  private static final long serialVersionUID = 1L;

  HostileServerException(String message) {
    super(Details.of(message));
  }
}
