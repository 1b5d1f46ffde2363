package dev.podium.examples.predict;

import ai.onnxruntime.OrtException;
import dev.podium.BlockingIterator;
import dev.podium.Current;
import dev.podium.Follower;
import java.util.logging.Level;
import java.util.logging.Logger;

/** The model that answers, which is replaced as a whole: a request sees one version or the other. */
final class Serving {
  private static final Logger LOG = Logger.getLogger("predict");

  private volatile Model model;

  /** Loads the current version, then follows in a thread of its own until the follower is closed. */
  Serving(Follower follower) throws OrtException {
    BlockingIterator<Current> versions = follower.changes();
    model = Model.load(versions.next());
    Thread thread = new Thread(() -> versions.forEachRemaining(this::swap), "swap");
    thread.setDaemon(true);
    thread.start();
  }

  /** The model of now, which whoever asked must release. */
  Model acquire() {
    while (true) {
      Model now = model;
      if (now.acquire()) {
        return now;
      }
      // It was replaced in between, and is closed: there is another one.
    }
  }

  String version() {
    return model.version();
  }

  /** Loads a version beside the one that serves, then takes its place. A version that cannot be loaded is left out. */
  private void swap(Current current) {
    Model old = model;
    try {
      model = Model.load(current);
    } catch (OrtException | RuntimeException error) {
      LOG.log(Level.WARNING, old.version() + " serves on, " + current.target().version() + " cannot be loaded", error);
      return;
    }
    old.release(); // the last request in flight with it closes it
    LOG.log(Level.INFO, "serving {0}", current.target().version());
  }
}
