package dev.podium;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/**
 * Locks on digests, between processes and threads: record locks on single bytes of a file, as CACHE.md says.
 *
 * <p>The kernel knows one owner a process, and drops all its locks on a file when the process closes that file once. So a file is
 * opened once a process and stays open, and a table here stands between the threads. Waiting is polling: the kernel would see a
 * deadlock where two processes wait for each other with different threads.
 */
final class LockFile {
  private static final long FIRST_PAUSE = TimeUnit.MILLISECONDS.toNanos(2);
  private static final long LONGEST_PAUSE = TimeUnit.MILLISECONDS.toNanos(100);
  private static final Map<Object, LockFile> OPEN = new HashMap<>(); // by inode; also the guard of all tables
  private static final List<FileChannel> STRAYS = new ArrayList<>(); // of no use, but the garbage collector would close them

  private final FileChannel channel;
  private final Map<Long, Lock> held = new HashMap<>();
  private final Set<Long> kept = new HashSet<>();

  /** Sleeps so many nanoseconds, or throws to end the wait. */
  interface Pause {
    void nanos(long nanos);
  }

  /** One byte that is locked, and how many share it in this process. */
  private static final class Lock {
    final FileLock file;
    final boolean exclusive;
    int count = 1;

    Lock(FileLock file, boolean exclusive) {
      this.file = file;
      this.exclusive = exclusive;
    }
  }

  /** A lock that was taken, until it is closed; again does nothing. */
  final class Hold implements AutoCloseable {
    private final String digest;
    private boolean released;

    private Hold(String digest) {
      this.digest = digest;
    }

    @Override
    public void close() {
      synchronized (OPEN) {
        if (!released) {
          released = true;
          release(digest);
        }
      }
    }
  }

  private LockFile(FileChannel channel) {
    this.channel = channel;
  }

  /**
   * The process's one LockFile over the file at this absolute path. A new one if somebody removed the file: nobody looks at locks on
   * the old one, which stays open, so that no new file gets its inode.
   */
  static LockFile at(Path path) {
    synchronized (OPEN) {
      try {
        LockFile file = OPEN.get(inodeAt(path));
        return file != null ? file : open(path);
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  private static LockFile open(Path path) throws IOException {
    Files.createDirectories(path.getParent());
    while (true) {
      Object inode = createAndIdentify(path);
      if (OPEN.containsKey(inode)) {
        return OPEN.get(inode);
      }
      FileChannel channel = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE);
      STRAYS.add(channel);
      if (inode.equals(inodeAt(path))) { // Java cannot ask an open file which one it is
        STRAYS.remove(channel);
        LockFile file = new LockFile(channel);
        OPEN.put(inode, file);
        return file;
      }
    }
  }

  /** Takes the lock together with others; false if somebody has it alone. */
  boolean tryShared(String digest) {
    long place = place(digest);
    synchronized (OPEN) {
      Lock lock = held.get(place);
      if (lock == null) {
        return take(place, true);
      }
      if (lock.exclusive) {
        return false;
      }
      lock.count++;
      return true;
    }
  }

  /** Takes the lock alone; false if anybody has it. */
  boolean tryExclusive(String digest) {
    long place = place(digest);
    synchronized (OPEN) {
      return !held.containsKey(place) && take(place, false);
    }
  }

  /** Shares the lock until the process ends. */
  void keep(String digest, Pause pause) {
    long place = place(digest);
    synchronized (OPEN) {
      if (kept.contains(place)) {
        return;
      }
    }
    Hold mine = shared(digest, pause);
    synchronized (OPEN) {
      if (kept.add(place)) {
        return;
      }
    }
    mine.close(); // another thread was first
  }

  /** Waits until nobody has the lock alone. */
  Hold shared(String digest, Pause pause) {
    await(() -> tryShared(digest), pause);
    return new Hold(digest);
  }

  /** Waits until nobody has the lock. */
  Hold exclusive(String digest, Pause pause) {
    await(() -> tryExclusive(digest), pause);
    return new Hold(digest);
  }

  private void release(String digest) {
    long place = place(digest);
    synchronized (OPEN) {
      Lock lock = held.get(place);
      if (--lock.count > 0) {
        return;
      }
      held.remove(place);
      try {
        lock.file.release();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  private boolean take(long place, boolean shared) {
    try {
      FileLock lock = channel.tryLock(place, 1, shared);
      if (lock != null) {
        held.put(place, new Lock(lock, !shared));
      }
      return lock != null;
    } catch (OverlappingFileLockException taken) {
      throw new IllegalStateException("another class loader of this process has loaded the Podium client too, and has this lock of the"
          + " cache: load it once, or give each its own cache", taken);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static void await(BooleanSupplier attempt, Pause pause) {
    long nanos = FIRST_PAUSE;
    while (!attempt.getAsBoolean()) {
      pause.nanos(ThreadLocalRandom.current().nextLong(nanos / 2, nanos + 1));
      nanos = Math.min(2 * nanos, LONGEST_PAUSE);
    }
  }

  /** Makes the file if it is not there. Only a file that is new is closed here, on which this process has no locks. */
  private static Object createAndIdentify(Path path) throws IOException {
    try {
      Files.createFile(path);
    } catch (FileAlreadyExistsException there) {
      // good
    }
    return inodeAt(path);
  }

  private static Object inodeAt(Path path) throws IOException {
    try {
      return Files.readAttributes(path, "unix:dev,ino");
    } catch (NoSuchFileException gone) {
      return "none";
    }
  }

  private static long place(String digest) {
    return Long.parseLong(Digests.hex(digest), 0, 15, 16);
  }
}
