"""The structures of and near the spine, painted on a canvas back to front."""

from dataclasses import dataclass

import numpy as np

from spineseg.phantom.anatomy import (
    FIRST_BODY_LABEL,
    FIRST_DISC_LABEL,
    L3,
    LABELLED,
    LEVELS,
    SACRUM_LABEL,
    Curve,
    Patient,
    Spine,
)
from spineseg.phantom.shapes import Barrel, Canvas, Ellipsoid, Frame
from spineseg.phantom.signals import Signals
from spineseg.phantom.surroundings import Habitus

CONUS = 5  # the cord ends near L1/T12: this many levels above L5


@dataclass(frozen=True)
class Painter:
    """Paints one patient's structures on a canvas; random touches come from `rng`."""

    canvas: Canvas
    spine: Spine
    signals: Signals
    habitus: Habitus
    rng: np.random.Generator
    bodies_only: bool

    @property
    def patient(self) -> Patient:
        return self.spine.patient

    def paint(self) -> None:
        self.organs()
        self.vessels()
        self.sacrum()
        self.canal()
        self.between_the_arches()
        for level in range(len(LEVELS)):
            self.arch(level)
        self.ligaments()
        for level in range(len(LEVELS)):
            self.disc(level)
        for level in range(len(LEVELS)):
            self.body(level)

    # -- in front of the spine ------------------------------------------------------------------

    def organs(self) -> None:
        """Bladder, uterus or rectum low in front, liver, stomach and loops higher up."""
        rng, tissue = self.rng, self.signals
        promontory = self.spine.sacrum[0].frame.origin
        size = self.habitus.bladder
        radii = (size * rng.uniform(0.9, 1.7), size * rng.uniform(0.6, 1.2), size * 1.3)
        offset = (rng.normal(0, 8), rng.uniform(35, 75), -rng.uniform(45, 80))
        bladder = Ellipsoid(Frame.tilted(np.add(promontory, offset), rng.normal(0, 0.4)), radii)
        fluid = tissue.csf * rng.uniform(0.7, 1.1)
        self.canvas.paint(bladder, (0, tissue.muscle), (3, fluid))

        offset = (rng.normal(0, 10), rng.uniform(25, 60), -rng.uniform(10, 40))
        frame = Frame.tilted(np.add(promontory, offset), rng.normal(0.6, 0.4))
        layers = ((0.0, rng.uniform(0.15, 0.5)), (6.0, rng.uniform(0.1, 0.6)))
        self.canvas.paint(Ellipsoid(frame, rng.uniform(12, 28, 3)), *layers)

        for _ in range(rng.integers(3, 10)):
            ahead = rng.uniform(35, self.habitus.girth - 55)
            place = np.array([rng.uniform(-40, 40), rng.uniform(-180, 90), -ahead])
            frame = Frame.tilted(place, rng.uniform(-0.8, 0.8))
            organ = Ellipsoid(frame, rng.gamma(4, 5, 3) + 4)
            layers = ((0.0, rng.uniform(0.05, 0.5)), (rng.uniform(2, 6), rng.uniform(0.02, 0.6)))
            self.canvas.paint(organ, *layers, opacity=rng.uniform(0.4, 1), softness=2)

    def vessels(self) -> None:
        """Aorta on the left and vena cava on the right, down to L4, then the iliacs."""
        rng = self.rng
        for side, radius in ((1, rng.uniform(7, 11)), (-1, rng.uniform(6, 12))):
            ahead = 2 * self.spine.bodies[L3].half_depth + radius + rng.uniform(0, 5)
            curve = self.spine.along(-ahead, side * rng.uniform(3, 15))
            fork = rng.uniform(25, 50)
            lateral = curve.x + side * 0.5 * np.maximum(curve.y - fork, 0)
            narrowing = np.interp(curve.y, [fork, fork + 20, 90, 100], [1, 0.7, 0.6, 0])
            curve = Curve(curve.y, lateral, curve.z)
            tube = curve.tube(radius * narrowing, radius * narrowing)
            flow = self.signals.flow * rng.uniform(0.5, 1.5)
            self.canvas.paint(tube, (0, self.signals.muscle), (1.5, flow))

    # -- sacrum and canal -----------------------------------------------------------------------

    def sacrum(self) -> None:
        """Segments under one label, with rudimentary discs, foramina and the median crest."""
        rng, tissue, spine = self.rng, self.signals, self.spine
        between = rng.uniform(tissue.cortex, tissue.sacral_marrow)
        for upper, lower in zip(spine.sacrum, spine.sacrum[1:], strict=False):
            middle = (upper.frame.origin + lower.frame.origin) / 2
            gap = Ellipsoid(
                Frame(middle, lower.frame.axes),
                (0.95 * lower.half_depth, 0.5 * lower.half_height, 0.8 * lower.half_width),
            )
            self.canvas.paint(gap, (0, between), label=SACRUM_LABEL)
        rudiment = rng.uniform(0, 1) * tissue.nucleus
        for index, segment in enumerate(spine.sacrum):
            marrow = tissue.sacral_marrow * rng.uniform(0.8, 1.15)
            layers = ((0.0, tissue.cortex), (rng.uniform(0.4, 1.2), marrow))
            self.canvas.paint(segment, *layers, label=SACRUM_LABEL)
            if 0 < index < 4:
                top = segment.frame.at(0, -segment.half_height - 0.7, 0)
                radii = (0.7 * segment.half_depth, rng.uniform(0.8, 2.2) / index, 8.0)
                self.canvas.paint(Ellipsoid(top, radii), (0, rudiment), opacity=0.8)
            if index < 4:
                for side in (-1, 1):
                    at = segment.frame.at(2, 0.85 * segment.half_height, side * rng.uniform(15, 20))
                    hole = Ellipsoid(at, (1.2 * segment.half_depth, 4.5, 4.5))
                    self.canvas.paint(hole, (0, tissue.fat), (2.2, tissue.muscle))
                crest = segment.frame.at(segment.half_depth + 15 - 2 * index, 2, 0, pitch=0.2)
                radii = (5.0, 0.5 * segment.half_height, 5.0)
                label = 0 if self.bodies_only else SACRUM_LABEL
                layers = ((0, tissue.cortex), (1.2, tissue.sacral_marrow))
                self.canvas.paint(Ellipsoid(crest, radii), *layers, label=label)

    def canal(self) -> None:
        """Epidural fat, the dural sac with its fluid, the cord down to the conus, the roots."""
        rng, tissue, patient = self.rng, self.signals, self.patient
        depth, width = patient.canal_depth, patient.canal_width
        s1, s3 = (self.spine.sacrum[i].frame.origin[1] for i in (0, 2))
        sac_end = rng.uniform(s1 + 5, s3)

        fat = self.spine.along(depth + 1.5)
        size = np.interp(fat.y, [0, s1, s3 + 30], [1.0, 1.15, 0.5])
        self.canvas.paint(
            fat.tube((depth + 1.8) * size, (width + 2) * size), (0, tissue.epidural_fat)
        )
        sac = self.spine.along(depth + 0.5)
        size = np.interp(sac.y, [-120, 0, s1, sac_end, sac_end + 6], [0.88, 1, 0.8, 0.3, 0])
        self.canvas.paint(
            sac.tube(depth * size, width * size), (0, tissue.ligament), (0.8, tissue.csf)
        )

        conus = self.spine.bodies[CONUS].frame.origin[1] + rng.normal(8, 12)
        cord = self.spine.along(depth + rng.uniform(-0.5, 2.5))
        radius = rng.uniform(3.2, 4.5)
        size = np.interp(cord.y, [conus - 30, conus - 12, conus + 8], [1, 1.1, 0])
        self.canvas.paint(cord.tube(radius * size, 1.25 * radius * size), (0, tissue.cord))

        darkness = rng.uniform(0.1, 0.7)
        for _ in range(9):
            aside, behind = rng.normal(0, 0.45 * width), depth + rng.uniform(-1, 0.7 * depth)
            strand = self.spine.along(behind, float(np.clip(aside, -0.7 * width, 0.7 * width)))
            size = np.interp(strand.y, [conus - 20, conus, s1, sac_end], [0, 1, 0.7, 0])
            caliber = rng.uniform(0.7, 1.5)
            tube = strand.tube(caliber * size, 1.5 * caliber * size)
            self.canvas.paint(tube, (0, tissue.cord), opacity=darkness, softness=1)

    def ligaments(self) -> None:
        """The dark longitudinal ligaments in front of and behind the bodies."""
        for behind in (0.3, -2 * self.spine.bodies[L3].half_depth - 0.5):
            line = self.spine.along(behind)
            end = self.spine.sacrum[1].frame.origin[1]
            size = np.interp(line.y, [end - 10, end], [1, 0])
            self.canvas.paint(line.tube(1.2 * size, 7 * size), (0, self.signals.ligament))

    def between_the_arches(self) -> None:
        """At each disc: fat behind the sac, yellow ligaments, foraminal fat and the nerve roots."""
        rng, tissue = self.rng, self.signals
        for body, disc in zip(self.spine.bodies, self.spine.discs, strict=True):
            reach = disc.half_depth + 2 * self.patient.canal_depth
            triangle = disc.frame.at(reach + 2, -2, 0)
            radii = (rng.uniform(2, 5), rng.uniform(6, 10), 6.0)
            self.canvas.paint(Ellipsoid(triangle, radii), (0, tissue.epidural_fat))
            thickness = rng.uniform(1.5, 3)
            for side in (-1, 1):
                flavum = disc.frame.at(reach + 2, 0, side * 8, pitch=0.2)
                self.canvas.paint(Ellipsoid(flavum, (thickness, 9.0, 6.0)), (0, tissue.ligament))
                gap = body.half_height + disc.half_height
                foramen = disc.frame.at(disc.half_depth + 5, -0.5 * gap, side * 17)
                self.canvas.paint(Ellipsoid(foramen, (6.5, 0.75 * gap, 9.0)), (0, tissue.fat))
                root = disc.frame.at(disc.half_depth + 4.5, -0.75 * gap, side * 17, pitch=0.4)
                radius = rng.uniform(1.8, 3)
                self.canvas.paint(Ellipsoid(root, (radius, radius, 9.0)), (0, tissue.cord))

    # -- vertebrae ------------------------------------------------------------------------------

    def label(self, first: int, level: int, part: Barrel) -> int:
        """The label of a body or disc; 0 above T9 and where its centre is out of view.

        Annotators leave out a vertebra of which only the lower edge is seen.
        """
        grid = self.canvas.grid
        in_view = part.frame.origin[1] >= grid.y[0] - grid.pixel / 2
        return first + level if level < LABELLED and in_view else 0

    def arch(self, level: int) -> None:
        """Pedicles, articular processes, laminae, transverse and spinous process."""
        rng, tissue, patient = self.rng, self.signals, self.patient
        body = self.spine.bodies[level]
        label = 0 if self.bodies_only else self.label(FIRST_BODY_LABEL, level, body)
        marrow = tissue.posterior_marrow * rng.normal(1, 0.08)
        size = body.half_height / 13
        back = body.half_depth + 2 * patient.canal_depth  # the canal's rear wall
        wide = patient.canal_width + 4 * size
        thoracic = float(np.clip((level - 3) / 4, 0, 1))
        short = 0.75 if level == 0 else 1.0

        def process(
            u: float, v: float, w: float, radii: tuple[float, float, float], pitch: float = 0.0
        ) -> Ellipsoid:
            varied = size * np.array(radii) * rng.normal(1, 0.07, 3)
            return Ellipsoid(body.frame.at(u, v * size, w, pitch), varied)

        processes = []
        for side in (-1, 1):
            processes += [  # transverse, articular (two), isthmus, lamina, pedicle
                process(back - 3, -1, side * (wide + 10 * size), (4.5, 5, 13 - 3 * thoracic)),
                process(back - 1, -12, side * (wide + 1.5), (5, 9, 5.5), pitch=-0.15),
                process(back + 3, 14, side * (wide - 1), (5.5, 11, 5), pitch=0.15),
                process(back + 1, 1, side * wide, (6, 11, 6), pitch=0.1),
                process(back + 2.5, 7, side * 0.5 * wide, (3.5, 9, 7), pitch=0.25),
                process(body.half_depth + 6, -5, side * wide, (11, 6.5, 4.8), pitch=0.1),
            ]
        reach = patient.spinous * (15 - 2 * thoracic) * short
        radii = (reach, (10 - 3.5 * thoracic) * short * rng.normal(1, 0.08), 3.8)
        pitch = 0.15 + 0.5 * thoracic + rng.normal(0, 0.1)
        root = body.frame.at(back + size * reach * 0.95 + 1, (9 + 7 * thoracic) * size, 0, pitch)
        boxy = bool(rng.random() < 0.6)
        processes.append(Ellipsoid(root, size * np.array(radii), boxy))

        # All cortex before all marrow: the processes are one bone.
        rim = rng.uniform(0.3, 1.2)
        for shape in processes:
            self.canvas.paint(shape, (0, tissue.cortex), label=label)
        for shape in processes:
            self.canvas.paint(shape, (rim, marrow), softness=1)

    def disc(self, level: int) -> None:
        """Annulus, nucleus darkened by degeneration, a bulge into the canal."""
        rng, tissue, disc = self.rng, self.signals, self.spine.discs[level]
        label = self.label(FIRST_DISC_LABEL, level, disc)
        wear = self.patient.degeneration[level]
        self.canvas.paint(disc, (0, tissue.annulus), label=label)
        bulge = self.patient.bulge[level]
        if bulge > 1:
            at = disc.frame.at(disc.half_depth - 2, rng.normal(0, 1), rng.normal(0, 4))
            radii = (bulge + 2, disc.half_height + rng.uniform(-1, 1.5), rng.uniform(6, 16))
            self.canvas.paint(Ellipsoid(at, radii), (0, tissue.annulus), label=label)
        bright = tissue.nucleus + wear * (1.2 * tissue.annulus - tissue.nucleus)
        place = disc.frame.at(rng.normal(1, 1), 0, 0)
        radii = (0.72 * disc.half_depth, 0.9 * disc.half_height + 0.8, 0.75 * disc.half_width)
        nucleus = Ellipsoid(place, radii, boxy=bool(rng.random() < 0.5))
        self.canvas.paint(nucleus, (0, bright), softness=rng.uniform(1, 5))
        if rng.random() < 0.35:
            cleft = (0.5 * disc.half_depth, 0.8, 0.5 * disc.half_width)
            self.canvas.paint(
                Ellipsoid(place, cleft), (0, tissue.annulus), opacity=rng.uniform(0.2, 0.7)
            )

    def body(self, level: int) -> None:
        """Cortex and marrow, joined to the pedicles; basivertebral vein and marrow lesions."""
        rng, tissue, body = self.rng, self.signals, self.spine.bodies[level]
        label = self.label(FIRST_BODY_LABEL, level, body)
        marrow = tissue.marrow * rng.normal(1, 0.06)
        self.canvas.paint(body, (0, tissue.cortex), (rng.uniform(0.3, 1.3), marrow), label=label)
        for side in (-1, 1):
            wide = self.patient.canal_width + 0.3 * body.half_height
            neck = body.frame.at(body.half_depth, -0.38 * body.half_height, side * wide)
            self.canvas.paint(Ellipsoid(neck, (7.0, 4.0, 2.8)), (0, marrow), softness=2)

        length = rng.uniform(3, 10)
        vein = body.frame.at(body.half_depth - length, rng.normal(0, 1), 0)
        signal = rng.choice([tissue.fat, tissue.csf, tissue.cortex, marrow])
        radii = (length, rng.uniform(0.8, 2.5), rng.uniform(3, 9))
        self.canvas.paint(Ellipsoid(vein, radii), (0, signal), opacity=rng.uniform(0.3, 0.9))
        if rng.random() < 0.12:
            self.lesion(body, marrow)
        for endplate in (-1, 1):
            if rng.random() < 0.25 * self.patient.degeneration[level]:
                self.endplate_change(body, endplate, marrow)

    def lesion(self, body: Barrel, marrow: float) -> None:
        """A haemangioma or another round spot within the marrow."""
        rng = self.rng
        offset = 0.5 * rng.uniform(-1, 1, 3) * (body.half_depth, body.half_height, body.half_width)
        radius = rng.uniform(3, 8)
        spot = Ellipsoid(body.frame.at(*offset), (radius, min(radius, 6.0), radius))
        self.canvas.paint(spot, (0, marrow * rng.uniform(0.4, 2.2)), softness=2)

    def endplate_change(self, body: Barrel, endplate: int, marrow: float) -> None:
        """Modic's signal change beside a worn disc."""
        rng = self.rng
        v = endplate * (body.half_height - rng.uniform(2, 5))
        place = body.frame.at(rng.uniform(-0.6, 0.6) * body.half_depth, v, rng.normal(0, 8))
        radii = (rng.uniform(5, 14), rng.uniform(2, 5), rng.uniform(8, 18))
        self.canvas.paint(
            Ellipsoid(place, radii), (0, marrow * rng.uniform(0.5, 1.9)), opacity=0.7, softness=2
        )
