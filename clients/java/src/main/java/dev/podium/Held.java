package dev.podium;

import dev.podium.v1.File;
import java.nio.file.Path;
import java.util.List;

/** A version whose whole, verified files are at {@code path}, and which is kept from pruning until it is released. */
record Held(Cache cache, Path path, String digest, List<File> files, LockFile.Hold hold) {

  /** The version with its files from the server, as far as the cache does not have them. */
  static Held pull(Transport transport, Cache cache, Target target, Crew crew, boolean isDirect) throws Exception {
    Listing listing = Listing.fetch(transport, target, crew);
    LockFile.Hold hold = cache.hold(target.digest(), crew::pause);
    try {
      Path path = Checkout.into(cache, transport, listing, crew, isDirect);
      return new Held(cache, path, target.digest(), listing.stored(), hold);
    } catch (Throwable failure) {
      hold.close();
      throw failure;
    }
  }

  /** The version without a server, after all its bytes were read again; null if they are not what they must be. */
  static Held verify(Cache cache, LastKnown known) {
    String digest = known.target().digest();
    LockFile.Hold hold = cache.hold(digest, new Crew()::pause);
    Path path = cache.versionPath(digest);
    if (Comparison.isWhole(known, path)) {
      return new Held(cache, path, digest, known.files(), hold);
    }
    hold.close();
    return null;
  }

  /** Lets it be pruned, once it was not used for as long as any other; again does nothing. */
  void release() {
    cache.touch(digest);
    hold.close();
  }
}
