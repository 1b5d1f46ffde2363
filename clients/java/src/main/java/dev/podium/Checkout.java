package dev.podium;

import dev.podium.v1.File;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Collectors;

/** A pull: the files of a version as a folder, in the cache or as a copy of it, whole or not at all. */
final class Checkout {
  private static final Logger LOG = Logger.getLogger("dev.podium");
  private static final int SHOWN = 5;
  private static final int PREFIX_LENGTH = 32;

  private Checkout() {}

  /**
   * The version's read-only folder in the cache, of which the caller has a hold. Only bytes that the cache does not have are fetched,
   * by the crew: if that is stopped, they are partial files. If {@code isDirect} they come from where the server keeps them, as far as
   * it signs URLs and they can be had there.
   */
  static Path into(Cache cache, Transport transport, Listing listing, Crew crew, boolean isDirect) throws Exception {
    checkNames(listing);
    Path folder = cache.version(
        listing.target().digest(), listing.sizes(), made -> fill(made, cache, transport, listing, crew, isDirect), crew::pause);
    if (!listing.external().isEmpty()) {
      warnOfExternal(listing);
    }
    return folder;
  }

  /** Where a copy can appear: a new folder, or an empty one that can be replaced; else InvalidArgumentException. */
  static Path freePlace(Path destination) throws IOException {
    Path place = destination.toAbsolutePath().normalize();
    if (Files.exists(place)) {
      place = place.toRealPath();
    }
    String fault = "";
    if (Files.isDirectory(place)) {
      if (!isEmpty(place)) {
        fault = "is not empty: name a new folder";
      } else if (isMountPoint(place) || place.equals(Path.of("").toRealPath())) {
        fault = "cannot be replaced, since it is the current folder or a mount point: name a new folder in it";
      }
    } else if (Files.exists(place, LinkOption.NOFOLLOW_LINKS)) {
      fault = "is not a folder: name a new one";
    }
    if (!fault.isEmpty()) {
      throw new InvalidArgumentException(destination + " " + fault, "destination", fault);
    }
    return place;
  }

  /** A copy of the version's folder, at a place that {@code freePlace} gave, whose files may be changed. */
  static Path copyOut(Path folder, Path place, Listing listing) throws Exception {
    Files.createDirectories(place.getParent());
    String name = place.getFileName().toString();
    String prefix = "." + name.substring(0, name.offsetByCodePoints(0, Math.min(PREFIX_LENGTH, name.codePointCount(0, name.length())))) + ".";
    Path temporary = Files.createTempDirectory(place.getParent(), prefix);
    try {
      Path made = Files.createDirectory(temporary.resolve("new"));
      Crew crew = new Crew();
      crew.run(listing.stored(), file -> copy(folder.resolve(file.getPath()), made.resolve(file.getPath())));
      try {
        Files.move(made, place, StandardCopyOption.ATOMIC_MOVE);
      } catch (FileSystemException error) {
        if (!Files.exists(place, LinkOption.NOFOLLOW_LINKS)) {
          throw error;
        }
        throw new InvalidArgumentException(
            place + " was made by somebody else meanwhile: name a new folder", "destination", "is not empty: name a new folder");
      }
    } finally {
      Sealed.remove(temporary);
    }
    return place;
  }

  /** Puts links to all files of the version into a new folder, after fetching those that the cache does not have. */
  private static void fill(Path folder, Cache cache, Transport transport, Listing listing, Crew crew, boolean isDirect)
      throws Exception {
    Map<String, List<File>> same = listing.stored().stream()
        .collect(Collectors.groupingBy(File::getDigest, LinkedHashMap::new, Collectors.toList()));
    List<List<File>> groups = new ArrayList<>(same.values());
    groups.sort(Comparator.comparingLong(files -> -files.get(0).getSizeBytes()));
    List<File> missing = groups.stream().map(files -> files.get(0))
        .filter(file -> !Sealed.isSealed(cache.filePath(file.getDigest()), file.getSizeBytes())).toList();
    checkRoom(cache, missing);
    String reference = listing.target().pinned();
    Direct direct = isDirect ? new Direct(transport, crew, reference, missing) : null;
    crew.run(groups, files -> {
      File first = files.get(0);
      FileDownload download = new FileDownload(transport, crew, reference, first, direct);
      cache.file(first.getDigest(), first.getSizeBytes(), download::fetch, crew::pause, source -> {
        for (File file : files) {
          Sealed.link(source, folder.resolve(file.getPath()));
        }
      });
    });
  }

  /** DiskFullException before a download that cannot end, whatever a server says how large its files are. */
  private static void checkRoom(Cache cache, List<File> missing) throws IOException {
    Files.createDirectories(cache.root);
    long needed = 0;
    for (File file : missing) {
      long size = file.getSizeBytes() - sizeOf(cache.partialPath(file.getDigest()));
      needed = needed > Long.MAX_VALUE - Math.max(0, size) ? Long.MAX_VALUE : needed + size;
    }
    long free = Files.getFileStore(cache.root).getUsableSpace();
    if (needed > free) {
      throw new DiskFullException(needed + " bytes are to be fetched, and " + cache.root + " has room for " + free);
    }
  }

  private static long sizeOf(Path path) {
    try {
      return Files.size(path);
    } catch (IOException notThere) { // or another process completed it
      return 0;
    }
  }

  private static void copy(Path source, Path target) throws IOException {
    Files.createDirectories(target.getParent());
    try {
      Sealed.copy(source, target);
    } catch (IOException error) {
      if (Sink.isFull(error)) {
        throw new DiskFullException("no room left for " + target);
      }
      throw error;
    }
  }

  /** Java takes only names that the encoding of the locale has. */
  private static void checkNames(Listing listing) throws IOException {
    for (File file : listing.stored()) {
      try {
        Path.of(file.getPath());
      } catch (InvalidPathException unmappable) {
        throw new IOException("this Java cannot name the file " + Text.quoted(file.getPath())
            + ": start it in a locale of UTF-8, LC_ALL=C.UTF-8 for example", unmappable);
      }
    }
  }

  private static void warnOfExternal(Listing listing) {
    List<File> external = listing.external();
    String names = external.stream().limit(SHOWN)
        .map(file -> file.getPath() + " (" + Text.quoted(file.getUri()) + ")").collect(Collectors.joining(", "));
    LOG.log(Level.WARNING, "{0}: {1} external files are not fetched: {2}{3}", new Object[] {
        Text.quoted(listing.target().pinned()), external.size(), names, external.size() > SHOWN ? ", …" : ""});
  }

  private static boolean isEmpty(Path folder) throws IOException {
    try (DirectoryStream<Path> inner = Files.newDirectoryStream(folder)) {
      return !inner.iterator().hasNext();
    }
  }

  private static boolean isMountPoint(Path folder) throws IOException {
    Path parent = folder.getParent();
    return parent == null || !Files.getAttribute(folder, "unix:dev").equals(Files.getAttribute(parent, "unix:dev"));
  }
}
