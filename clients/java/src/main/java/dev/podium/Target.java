package dev.podium;

import java.util.List;

/**
 * The version that a reference means, with what serving code needs of it.
 *
 * @param model the model's name
 * @param modelUid the model's uid, which another model of the same name does not have
 * @param number 1, 2, 3 … in the order of registration
 * @param version the version string
 * @param digest the digest of the manifest, which pins every byte and every name of the files
 * @param recordDigest the digest of the record
 * @param stage the stage, empty for none
 * @param servable whether the version may serve
 * @param warnings what whoever serves it should know
 */
public record Target(
    String model,
    String modelUid,
    long number,
    String version,
    String digest,
    String recordDigest,
    String stage,
    boolean servable,
    List<String> warnings) {

  static Target of(dev.podium.v1.Target target) {
    return new Target(
        target.getModel(),
        target.getModelUid(),
        target.getNumber(),
        target.getVersion(),
        target.getDigest(),
        target.getRecordDigest(),
        target.getStage(),
        target.getServable(),
        List.copyOf(target.getWarningsList()));
  }

  /** A reference that means this version for good. */
  String pinned() {
    return model + ":" + number;
  }

  /** Whether both are one version, whatever is said about it; or both are none. */
  static boolean same(Target one, Target other) {
    if (one == null || other == null) {
      return one == other;
    }
    return one.number == other.number && one.modelUid.equals(other.modelUid) && one.digest.equals(other.digest);
  }
}
