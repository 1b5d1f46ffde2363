package dev.podium;

/** What a resolution is told beside the reference. */
public final class ResolveOptions {
  boolean forServing;
  String atLeast = "";

  /** Whatever the reference means now. */
  public ResolveOptions() {}

  /**
   * Whether a version that may not serve is a {@link FailedPreconditionException}.
   *
   * @param forServing whether it is
   * @return this
   */
  public ResolveOptions forServing(boolean forServing) {
    this.forServing = forServing;
    return this;
  }

  /**
   * The answer shows this position of the history or a later one; else what the registry object has seen.
   *
   * @param position for example that of a change that was just made
   * @return this
   */
  public ResolveOptions atLeast(String position) {
    atLeast = position;
    return this;
  }
}
