package dev.podium;

/** The bytes that arrived do not have the digest that they should have. */
public final class DamagedFileException extends PodiumException {
  private static final long serialVersionUID = 1L;

  DamagedFileException(String message) {
    super(Details.of(message));
  }
}
