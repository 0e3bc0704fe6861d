"""The score difference late on the guided trajectory."""

from memdet import Detector, DetectorInfo, Probe


class LateDifference(Detector):
    """Norm of eps_c - eps_u at one step of the guided trajectory."""

    info = DetectorInfo(
        name="late-difference",
        title="norm of the score difference at a late step",
        access="score",
        cost="2 (step + 1) F",
    )
    step: int = 40

    def score(self, probe: Probe):
        """Score each item, ``[batch]``."""
        trajectory = probe.trajectory()
        x = trajectory.state(self.step)
        return probe.difference(x, trajectory.timesteps[self.step]).flatten(1).norm(dim=1)
