package dev.podium;

/** Another thread has failed, or nobody wants this any more: it need not go on. */
final class StoppedException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  StoppedException() {
    super("stopped", null, false, false);
  }
}
