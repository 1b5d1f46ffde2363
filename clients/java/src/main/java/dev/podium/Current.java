package dev.podium;

import java.nio.file.Path;

/**
 * A version whose files are on this machine.
 *
 * @param reference the reference that is followed
 * @param path a read-only folder in the cache, verified before it came here
 * @param target the version, as the registry said it last
 */
public record Current(String reference, Path path, Target target) {}
