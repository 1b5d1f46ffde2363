package dev.podium;

/** A name, reference, number or text is not as it must be; {@link #fields()} says which. */
public final class InvalidArgumentException extends PodiumException {
  private static final long serialVersionUID = 1L;

  InvalidArgumentException(Details details) {
    super(details);
  }

  InvalidArgumentException(String message) {
    super(Details.of(message));
  }

  InvalidArgumentException(String message, String field, String fault) {
    super(Details.of(message).withField(field, fault));
  }
}
