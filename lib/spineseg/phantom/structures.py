"""The spine and the structures near it, painted on a canvas back to front."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from spineseg.phantom.anatomy import (
    FIRST_BODY_LABEL,
    FIRST_DISC_LABEL,
    L3,
    LABELLED_LEVELS,
    LEVELS,
    SACRUM_LABEL,
    Patient,
)
from spineseg.phantom.canvas import Canvas
from spineseg.phantom.shapes import Barrel, Ellipsoid, Frame
from spineseg.phantom.signals import Signals
from spineseg.phantom.spine import Curve, Spine
from spineseg.phantom.surroundings import Habitus

CONUS_LEVEL = LEVELS.index("T12")  # the cord ends near this body
NERVE_ROOTS = 9  # strands below the cord


@dataclass(frozen=True)
class Painter:
    """Paints one patient's structures; `rng` draws their random details.

    With `bodies_only` the posterior elements get no label. Lengths are in mm.
    """

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
        """Paint everything; the order decides what covers what, and which draw comes when."""
        self.paint_organs()
        self.paint_vessels()
        self.paint_sacrum()
        self.paint_canal()
        self.paint_between_arches()
        for level in range(len(LEVELS)):
            self.paint_arch(level)
        self.paint_ligaments()
        for level in range(len(LEVELS)):
            self.paint_disc(level)
        for level in range(len(LEVELS)):
            self.paint_body(level)

    # -- in front of the spine ------------------------------------------------------------------

    def paint_organs(self) -> None:
        """The bladder, the uterus or rectum behind it, and organs and loops higher up."""
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

    def paint_vessels(self) -> None:
        """Aorta on the left and vena cava on the right down to L4, then the iliac vessels."""
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

    def paint_sacrum(self) -> None:
        """The segments under one label, with rudimentary discs, foramina and the median crest."""
        rng, tissue, segments = self.rng, self.signals, self.spine.sacrum
        between = rng.uniform(tissue.cortex, tissue.sacral_marrow)
        for upper, lower in pairwise(segments):
            middle = (upper.frame.origin + lower.frame.origin) / 2
            gap = Ellipsoid(
                Frame(middle, lower.frame.axes),
                (0.95 * lower.half_depth, 0.5 * lower.half_height, 0.8 * lower.half_width),
            )
            self.canvas.paint(gap, (0, between), label=SACRUM_LABEL)
        rudiment = rng.uniform(0, 1) * tissue.nucleus
        for index, segment in enumerate(segments):
            marrow = tissue.sacral_marrow * rng.uniform(0.8, 1.15)
            layers = ((0.0, tissue.cortex), (rng.uniform(0.4, 1.2), marrow))
            self.canvas.paint(segment, *layers, label=SACRUM_LABEL)
            if 0 < index < 4:
                top = segment.frame.at(0, -segment.half_height - 0.7, 0)
                radii = (0.7 * segment.half_depth, rng.uniform(0.8, 2.2) / index, 8.0)
                self.canvas.paint(Ellipsoid(top, radii), (0, rudiment), opacity=0.8)
            if index < 4:
                self.paint_sacral_foramina(segment)
                self.paint_sacral_crest(segment, index)

    def paint_sacral_foramina(self, segment: Barrel) -> None:
        """A canal with fat and a nerve on each side of a sacral segment."""
        rng, tissue = self.rng, self.signals
        for side in (-1, 1):
            at = segment.frame.at(2, 0.85 * segment.half_height, side * rng.uniform(15, 20))
            hole = Ellipsoid(at, (1.2 * segment.half_depth, 4.5, 4.5))
            self.canvas.paint(hole, (0, tissue.fat), (2.2, tissue.muscle))

    def paint_sacral_crest(self, segment: Barrel, index: int) -> None:
        """The median crest behind a sacral segment."""
        crest = segment.frame.at(segment.half_depth + 15 - 2 * index, 2, 0, pitch=0.2)
        radii = (5.0, 0.5 * segment.half_height, 5.0)
        label = 0 if self.bodies_only else SACRUM_LABEL
        layers = ((0, self.signals.cortex), (1.2, self.signals.sacral_marrow))
        self.canvas.paint(Ellipsoid(crest, radii), *layers, label=label)

    def paint_canal(self) -> None:
        """Epidural fat, the dural sac with its fluid, the cord, and the nerve roots below it."""
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

        conus = self.spine.bodies[CONUS_LEVEL].frame.origin[1] + rng.normal(8, 12)
        self.paint_cord(conus)
        self.paint_nerve_roots(conus, s1, sac_end)

    def paint_cord(self, conus: float) -> None:
        """The spinal cord down to the height `conus`."""
        rng = self.rng
        cord = self.spine.along(self.patient.canal_depth + rng.uniform(-0.5, 2.5))
        radius = rng.uniform(3.2, 4.5)
        size = np.interp(cord.y, [conus - 30, conus - 12, conus + 8], [1, 1.1, 0])
        tube = cord.tube(radius * size, 1.25 * radius * size)
        self.canvas.paint(tube, (0, self.signals.cord))

    def paint_nerve_roots(self, conus: float, s1: float, sac_end: float) -> None:
        """Thin strands from the conus down through the sac; the arguments are heights."""
        rng, depth, width = self.rng, self.patient.canal_depth, self.patient.canal_width
        darkness = rng.uniform(0.1, 0.7)
        for _ in range(NERVE_ROOTS):
            aside, behind = rng.normal(0, 0.45 * width), depth + rng.uniform(-1, 0.7 * depth)
            strand = self.spine.along(behind, float(np.clip(aside, -0.7 * width, 0.7 * width)))
            size = np.interp(strand.y, [conus - 20, conus, s1, sac_end], [0, 1, 0.7, 0])
            caliber = rng.uniform(0.7, 1.5)
            tube = strand.tube(caliber * size, 1.5 * caliber * size)
            self.canvas.paint(tube, (0, self.signals.cord), opacity=darkness, softness=1)

    def paint_ligaments(self) -> None:
        """The dark longitudinal ligaments in front of and behind the bodies."""
        for behind in (0.3, -2 * self.spine.bodies[L3].half_depth - 0.5):
            line = self.spine.along(behind)
            end = self.spine.sacrum[1].frame.origin[1]
            size = np.interp(line.y, [end - 10, end], [1, 0])
            self.canvas.paint(line.tube(1.2 * size, 7 * size), (0, self.signals.ligament))

    def paint_between_arches(self) -> None:
        """At each disc: fat behind the sac, yellow ligaments, foraminal fat and nerve roots."""
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

    def label_of(self, first: int, level: int, part: Barrel) -> int:
        """The label of a body or disc; `first` is that of L5 or L5/S.

        It is 0 above T9, and if the part's centre is out of view: annotators leave out a vertebra
        of which only the lower edge is seen.
        """
        grid = self.canvas.grid
        in_view = part.frame.origin[1] >= grid.y[0] - grid.pixel / 2
        return first + level if level < LABELLED_LEVELS and in_view else 0

    def paint_arch(self, level: int) -> None:
        """Pedicles, articular processes, laminae, transverse and spinous processes."""
        rng, tissue, body = self.rng, self.signals, self.spine.bodies[level]
        label = 0 if self.bodies_only else self.label_of(FIRST_BODY_LABEL, level, body)
        marrow = tissue.posterior_marrow * rng.normal(1, 0.08)
        thoracic = float(np.clip((level - 3) / 4, 0, 1))
        processes = self.paired_processes(body, thoracic)
        processes.append(self.spinous_process(body, thoracic, 0.75 if level == 0 else 1.0))

        # The processes are one bone: all of its cortex is painted before any marrow.
        rim = rng.uniform(0.3, 1.2)
        for shape in processes:
            self.canvas.paint(shape, (0, tissue.cortex), label=label)
        for shape in processes:
            self.canvas.paint(shape, (rim, marrow), softness=1)

    def paired_processes(self, body: Barrel, thoracic: float) -> list[Ellipsoid]:
        """The arch's parts on both sides; `thoracic` is 0 for a lumbar, 1 for a thoracic shape."""
        size = body.half_height / 13
        back = body.half_depth + 2 * self.patient.canal_depth  # the canal's rear wall
        wide = self.patient.canal_width + 4 * size

        def process(
            u: float, v: float, w: float, radii: tuple[float, float, float], pitch: float = 0.0
        ) -> Ellipsoid:
            varied = size * np.array(radii) * self.rng.normal(1, 0.07, 3)
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
        return processes

    def spinous_process(self, body: Barrel, thoracic: float, length: float) -> Ellipsoid:
        """The spinous process; `length` is relative, `thoracic` is that of `paired_processes`."""
        rng, size = self.rng, body.half_height / 13
        back = body.half_depth + 2 * self.patient.canal_depth
        reach = self.patient.spinous * (15 - 2 * thoracic) * length
        radii = (reach, (10 - 3.5 * thoracic) * length * rng.normal(1, 0.08), 3.8)
        pitch = 0.15 + 0.5 * thoracic + rng.normal(0, 0.1)
        root = body.frame.at(back + size * reach * 0.95 + 1, (9 + 7 * thoracic) * size, 0, pitch)
        return Ellipsoid(root, size * np.array(radii), boxy=bool(rng.random() < 0.6))

    def paint_disc(self, level: int) -> None:
        """Annulus, a bulge into the canal, and the nucleus, which degeneration darkens."""
        rng, tissue, disc = self.rng, self.signals, self.spine.discs[level]
        label = self.label_of(FIRST_DISC_LABEL, level, disc)
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

    def paint_body(self, level: int) -> None:
        """Cortex, marrow that continues into the pedicles, basivertebral vein, lesions."""
        rng, tissue, body = self.rng, self.signals, self.spine.bodies[level]
        label = self.label_of(FIRST_BODY_LABEL, level, body)
        marrow = tissue.marrow * rng.normal(1, 0.06)
        self.canvas.paint(body, (0, tissue.cortex), (rng.uniform(0.3, 1.3), marrow), label=label)
        for side in (-1, 1):
            wide = self.patient.canal_width + 0.3 * body.half_height
            neck = body.frame.at(body.half_depth, -0.38 * body.half_height, side * wide)
            self.canvas.paint(Ellipsoid(neck, (7.0, 4.0, 2.8)), (0, marrow), softness=2)

        self.paint_basivertebral_vein(body, marrow)
        if rng.random() < 0.12:
            self.paint_lesion(body, marrow)
        for endplate in (-1, 1):
            if rng.random() < 0.25 * self.patient.degeneration[level]:
                self.paint_endplate_change(body, endplate, marrow)

    def paint_basivertebral_vein(self, body: Barrel, marrow: float) -> None:
        """The vein in the rear half of a body, bright, dark or hardly visible."""
        rng, tissue = self.rng, self.signals
        length = rng.uniform(3, 10)
        vein = body.frame.at(body.half_depth - length, rng.normal(0, 1), 0)
        signal = rng.choice([tissue.fat, tissue.csf, tissue.cortex, marrow])
        radii = (length, rng.uniform(0.8, 2.5), rng.uniform(3, 9))
        self.canvas.paint(Ellipsoid(vein, radii), (0, signal), opacity=rng.uniform(0.3, 0.9))

    def paint_lesion(self, body: Barrel, marrow: float) -> None:
        """A haemangioma or another round spot within the marrow."""
        rng = self.rng
        offset = 0.5 * rng.uniform(-1, 1, 3) * (body.half_depth, body.half_height, body.half_width)
        radius = rng.uniform(3, 8)
        spot = Ellipsoid(body.frame.at(*offset), (radius, min(radius, 6.0), radius))
        self.canvas.paint(spot, (0, marrow * rng.uniform(0.4, 2.2)), softness=2)

    def paint_endplate_change(self, body: Barrel, endplate: int, marrow: float) -> None:
        """A Modic change beside a worn disc; `endplate` is -1 for the upper, 1 for the lower."""
        rng = self.rng
        v = endplate * (body.half_height - rng.uniform(2, 5))
        place = body.frame.at(rng.uniform(-0.6, 0.6) * body.half_depth, v, rng.normal(0, 8))
        radii = (rng.uniform(5, 14), rng.uniform(2, 5), rng.uniform(8, 18))
        self.canvas.paint(
            Ellipsoid(place, radii), (0, marrow * rng.uniform(0.5, 1.9)), opacity=0.7, softness=2
        )
