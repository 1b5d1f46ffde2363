package dev.podium;

/** The bytes of a file have not come from the bucket, or not all. It shows no URL: whoever has one can read. */
final class BucketException extends Exception {
  private static final long serialVersionUID = 1L;

  final boolean isRefusal; // there was an answer, and it was another
  final boolean isFinal; // trying again is in vain

  private BucketException(String message, boolean isRefusal, boolean isFinal) {
    super(message, null, false, false);
    this.isRefusal = isRefusal;
    this.isFinal = isFinal;
  }

  static BucketException cut(String message) {
    return new BucketException(message, false, false);
  }

  static BucketException refused(String message) {
    return new BucketException(message, true, false);
  }

  static BucketException inVain(String message) {
    return new BucketException(message, false, true);
  }
}
