package dev.podium;

/** The disk of this machine has no room for the files. */
public final class DiskFullException extends PodiumException {
  private static final long serialVersionUID = 1L;

  DiskFullException(String message) {
    super(Details.of(message));
  }
}
