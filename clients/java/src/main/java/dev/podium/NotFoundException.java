package dev.podium;

/** No such model, version, alias or file. */
public final class NotFoundException extends PodiumException {
  private static final long serialVersionUID = 1L;

  NotFoundException(Details details) {
    super(details);
  }
}
