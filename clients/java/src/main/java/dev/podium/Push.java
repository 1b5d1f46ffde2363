package dev.podium;

import dev.podium.v1.Version;
import java.util.List;

/**
 * What a push did.
 *
 * @param version the version
 * @param created whether it is new; else the model had the same content and record already
 * @param position where it was committed
 * @param files how many files it has
 * @param sizeBytes their bytes together
 * @param uploadedBytes how many had to be sent
 * @param leftOut empty folders, which no version can hold
 */
public record Push(
    Version version, boolean created, String position, int files, long sizeBytes, long uploadedBytes, List<String> leftOut) {}
