//! Which attributes are read: tag, keyword and representation (PS3.6), and which are shown.
//!
//! A table and its look-ups, nothing more. Bulk data has no place here.

use std::sync::LazyLock;

use super::header::{NO_VR, Vr};
use super::tags::Tag;

#[cfg(test)]
mod tests;

/// An attribute that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) tag: Tag,
    /// Keyword in PS3.6; for private attributes one of our own.
    pub(crate) keyword: &'static str,
    /// Representation in PS3.6; the first where there are alternatives.
    pub(crate) vr: Vr,
    /// What its values are, by `vr`.
    pub(crate) kind: Kind,
    /// Goes into `Instance::attributes`; the others have fields of their own.
    pub(crate) shown: bool,
    /// Has a value for every frame, and so as many as no other attribute has.
    pub(crate) each_frame: bool,
    /// Private Creator (PS3.5 7.8.1); empty for attributes of PS3.6. The element of a private
    /// attribute's tag is without the block that the creator reserves: (2005,xx0E) is (2005,000E).
    pub(crate) creator: &'static str,
}

/// What the values of a representation are (PS3.5 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whole numbers.
    Whole,
    /// Numbers.
    Number,
    /// Characters of the default repertoire.
    Text,
    /// Characters of the Specific Character Set.
    CharsetText,
    /// The same, and a backslash separates no values.
    SingleText,
    /// A tag.
    Pointer,
    /// Whatever the private attribute is.
    Private,
}

const fn kind(vr: &Vr) -> Kind {
    match vr {
        b"IS" | b"US" | b"UL" | b"SS" | b"SL" => Kind::Whole,
        b"DS" | b"FD" | b"FL" => Kind::Number,
        b"SH" | b"LO" | b"PN" => Kind::CharsetText,
        b"ST" | b"LT" | b"UT" => Kind::SingleText,
        b"AT" => Kind::Pointer,
        _ => Kind::Text,
    }
}

impl Attribute {
    /// The representation to read a value by: the one written, unless it says nothing.
    pub(crate) fn effective_vr(&self, written: Vr) -> Vr {
        if written == NO_VR || &written == b"UN" {
            self.vr
        } else {
            written
        }
    }
}

const fn inner(tag: Tag, keyword: &'static str, vr: &'static Vr) -> Attribute {
    Attribute {
        tag,
        keyword,
        vr: *vr,
        kind: kind(vr),
        shown: false,
        each_frame: false,
        creator: "",
    }
}

const fn shown(tag: Tag, keyword: &'static str, vr: &'static Vr) -> Attribute {
    let mut attribute = inner(tag, keyword, vr);
    attribute.shown = true;
    attribute
}

const fn vector(tag: Tag, keyword: &'static str, vr: &'static Vr) -> Attribute {
    let mut attribute = shown(tag, keyword, vr);
    attribute.each_frame = true;
    attribute
}

const fn private(attribute: Attribute, creator: &'static str) -> Attribute {
    let mut attribute = attribute;
    attribute.kind = Kind::Private;
    attribute.creator = creator;
    attribute
}

const SIEMENS: &str = "SIEMENS MR HEADER";
const PHILIPS: &str = "Philips MR Imaging DD 001";
const UIH: &str = "Image Private Header";
const GE_ACQUISITION: &str = "GEMS_ACQU_01";

/// All attributes that are read, by tag.
pub(crate) static ATTRIBUTES: &[Attribute] = &[
    shown(Tag(0x0008, 0x0005), "SpecificCharacterSet", b"CS"),
    shown(Tag(0x0008, 0x0008), "ImageType", b"CS"),
    inner(Tag(0x0008, 0x0016), "SOPClassUID", b"UI"),
    inner(Tag(0x0008, 0x0018), "SOPInstanceUID", b"UI"),
    shown(Tag(0x0008, 0x0020), "StudyDate", b"DA"),
    shown(Tag(0x0008, 0x0021), "SeriesDate", b"DA"),
    shown(Tag(0x0008, 0x0022), "AcquisitionDate", b"DA"),
    shown(Tag(0x0008, 0x0023), "ContentDate", b"DA"),
    shown(Tag(0x0008, 0x002A), "AcquisitionDateTime", b"DT"),
    shown(Tag(0x0008, 0x0030), "StudyTime", b"TM"),
    shown(Tag(0x0008, 0x0031), "SeriesTime", b"TM"),
    shown(Tag(0x0008, 0x0032), "AcquisitionTime", b"TM"),
    shown(Tag(0x0008, 0x0033), "ContentTime", b"TM"),
    shown(Tag(0x0008, 0x0050), "AccessionNumber", b"SH"),
    shown(Tag(0x0008, 0x0060), "Modality", b"CS"),
    shown(Tag(0x0008, 0x0068), "PresentationIntentType", b"CS"),
    shown(Tag(0x0008, 0x0070), "Manufacturer", b"LO"),
    shown(Tag(0x0008, 0x0080), "InstitutionName", b"LO"),
    shown(Tag(0x0008, 0x0090), "ReferringPhysicianName", b"PN"),
    inner(Tag(0x0008, 0x0100), "CodeValue", b"SH"),
    inner(Tag(0x0008, 0x0104), "CodeMeaning", b"LO"),
    shown(Tag(0x0008, 0x1010), "StationName", b"SH"),
    shown(Tag(0x0008, 0x1030), "StudyDescription", b"LO"),
    shown(Tag(0x0008, 0x103E), "SeriesDescription", b"LO"),
    shown(Tag(0x0008, 0x1090), "ManufacturerModelName", b"LO"),
    shown(Tag(0x0008, 0x2111), "DerivationDescription", b"ST"),
    shown(Tag(0x0008, 0x2144), "RecommendedDisplayFrameRate", b"IS"),
    inner(Tag(0x0008, 0x9007), "FrameType", b"CS"),
    shown(Tag(0x0008, 0x9205), "PixelPresentation", b"CS"),
    shown(Tag(0x0008, 0x9206), "VolumetricProperties", b"CS"),
    shown(Tag(0x0008, 0x9208), "ComplexImageComponent", b"CS"),
    shown(Tag(0x0008, 0x9209), "AcquisitionContrast", b"CS"),
    shown(Tag(0x0010, 0x0010), "PatientName", b"PN"),
    shown(Tag(0x0010, 0x0020), "PatientID", b"LO"),
    shown(Tag(0x0010, 0x0030), "PatientBirthDate", b"DA"),
    shown(Tag(0x0010, 0x0040), "PatientSex", b"CS"),
    shown(Tag(0x0010, 0x1010), "PatientAge", b"AS"),
    shown(Tag(0x0010, 0x1020), "PatientSize", b"DS"),
    shown(Tag(0x0010, 0x1030), "PatientWeight", b"DS"),
    shown(Tag(0x0012, 0x0062), "PatientIdentityRemoved", b"CS"),
    shown(Tag(0x0018, 0x0010), "ContrastBolusAgent", b"LO"),
    shown(Tag(0x0018, 0x0015), "BodyPartExamined", b"CS"),
    shown(Tag(0x0018, 0x0020), "ScanningSequence", b"CS"),
    shown(Tag(0x0018, 0x0021), "SequenceVariant", b"CS"),
    shown(Tag(0x0018, 0x0022), "ScanOptions", b"CS"),
    shown(Tag(0x0018, 0x0023), "MRAcquisitionType", b"CS"),
    shown(Tag(0x0018, 0x0024), "SequenceName", b"SH"),
    shown(Tag(0x0018, 0x0031), "Radiopharmaceutical", b"LO"),
    shown(Tag(0x0018, 0x0040), "CineRate", b"IS"),
    shown(Tag(0x0018, 0x0050), "SliceThickness", b"DS"),
    shown(Tag(0x0018, 0x0060), "KVP", b"DS"),
    shown(Tag(0x0018, 0x0080), "RepetitionTime", b"DS"),
    shown(Tag(0x0018, 0x0081), "EchoTime", b"DS"),
    shown(Tag(0x0018, 0x0082), "InversionTime", b"DS"),
    shown(Tag(0x0018, 0x0083), "NumberOfAverages", b"DS"),
    shown(Tag(0x0018, 0x0084), "ImagingFrequency", b"DS"),
    shown(Tag(0x0018, 0x0085), "ImagedNucleus", b"SH"),
    shown(Tag(0x0018, 0x0086), "EchoNumbers", b"IS"),
    shown(Tag(0x0018, 0x0087), "MagneticFieldStrength", b"DS"),
    shown(Tag(0x0018, 0x0088), "SpacingBetweenSlices", b"DS"),
    shown(Tag(0x0018, 0x0091), "EchoTrainLength", b"IS"),
    shown(Tag(0x0018, 0x0095), "PixelBandwidth", b"DS"),
    shown(Tag(0x0018, 0x1000), "DeviceSerialNumber", b"LO"),
    shown(Tag(0x0018, 0x1020), "SoftwareVersions", b"LO"),
    shown(Tag(0x0018, 0x1030), "ProtocolName", b"LO"),
    shown(Tag(0x0018, 0x1060), "TriggerTime", b"DS"),
    shown(Tag(0x0018, 0x1063), "FrameTime", b"DS"),
    vector(Tag(0x0018, 0x1065), "FrameTimeVector", b"DS"),
    shown(Tag(0x0018, 0x1072), "RadiopharmaceuticalStartTime", b"TM"),
    shown(Tag(0x0018, 0x1074), "RadionuclideTotalDose", b"DS"),
    shown(Tag(0x0018, 0x1075), "RadionuclideHalfLife", b"DS"),
    shown(
        Tag(0x0018, 0x1078),
        "RadiopharmaceuticalStartDateTime",
        b"DT",
    ),
    shown(Tag(0x0018, 0x1100), "ReconstructionDiameter", b"DS"),
    shown(Tag(0x0018, 0x1110), "DistanceSourceToDetector", b"DS"),
    shown(Tag(0x0018, 0x1111), "DistanceSourceToPatient", b"DS"),
    shown(Tag(0x0018, 0x1120), "GantryDetectorTilt", b"DS"),
    shown(Tag(0x0018, 0x1130), "TableHeight", b"DS"),
    shown(Tag(0x0018, 0x1150), "ExposureTime", b"IS"),
    shown(Tag(0x0018, 0x1151), "XRayTubeCurrent", b"IS"),
    shown(Tag(0x0018, 0x1152), "Exposure", b"IS"),
    shown(Tag(0x0018, 0x1160), "FilterType", b"SH"),
    shown(Tag(0x0018, 0x1164), "ImagerPixelSpacing", b"DS"),
    shown(Tag(0x0018, 0x1210), "ConvolutionKernel", b"SH"),
    shown(Tag(0x0018, 0x1242), "ActualFrameDuration", b"IS"),
    shown(Tag(0x0018, 0x1250), "ReceiveCoilName", b"SH"),
    shown(Tag(0x0018, 0x1310), "AcquisitionMatrix", b"US"),
    shown(Tag(0x0018, 0x1312), "InPlanePhaseEncodingDirection", b"CS"),
    shown(Tag(0x0018, 0x1314), "FlipAngle", b"DS"),
    shown(Tag(0x0018, 0x1316), "SAR", b"DS"),
    shown(Tag(0x0018, 0x5100), "PatientPosition", b"CS"),
    shown(Tag(0x0018, 0x5101), "ViewPosition", b"CS"),
    shown(Tag(0x0018, 0x9005), "PulseSequenceName", b"SH"),
    shown(Tag(0x0018, 0x9069), "ParallelReductionFactorInPlane", b"FD"),
    shown(Tag(0x0018, 0x9073), "AcquisitionDuration", b"FD"),
    inner(Tag(0x0018, 0x9074), "FrameAcquisitionDateTime", b"DT"),
    shown(Tag(0x0018, 0x9079), "InversionTimes", b"FD"),
    shown(Tag(0x0018, 0x9081), "PartialFourier", b"CS"),
    inner(Tag(0x0018, 0x9082), "EffectiveEchoTime", b"FD"),
    shown(Tag(0x0018, 0x9087), "DiffusionBValue", b"FD"),
    inner(Tag(0x0018, 0x9089), "DiffusionGradientOrientation", b"FD"),
    inner(Tag(0x0018, 0x9090), "VelocityEncodingDirection", b"FD"),
    inner(Tag(0x0018, 0x9151), "FrameReferenceDateTime", b"DT"),
    shown(Tag(0x0018, 0x9311), "SpiralPitchFactor", b"FD"),
    shown(Tag(0x0018, 0x9345), "CTDIvol", b"FD"),
    private(
        inner(Tag(0x0019, 0x000A), "SiemensNumberOfImagesInMosaic", b"US"),
        SIEMENS,
    ),
    private(inner(Tag(0x0019, 0x000C), "SiemensBValue", b"IS"), SIEMENS),
    private(
        inner(
            Tag(0x0019, 0x000E),
            "SiemensDiffusionGradientDirection",
            b"FD",
        ),
        SIEMENS,
    ),
    private(
        inner(
            Tag(0x0019, 0x0028),
            "SiemensBandwidthPerPixelPhaseEncode",
            b"FD",
        ),
        SIEMENS,
    ),
    private(
        inner(Tag(0x0019, 0x0029), "SiemensMosaicRefAcqTimes", b"FD"),
        SIEMENS,
    ),
    private(
        inner(Tag(0x0019, 0x00BB), "GeGradientX", b"DS"),
        GE_ACQUISITION,
    ),
    private(
        inner(Tag(0x0019, 0x00BC), "GeGradientY", b"DS"),
        GE_ACQUISITION,
    ),
    private(
        inner(Tag(0x0019, 0x00BD), "GeGradientZ", b"DS"),
        GE_ACQUISITION,
    ),
    inner(Tag(0x0020, 0x000D), "StudyInstanceUID", b"UI"),
    inner(Tag(0x0020, 0x000E), "SeriesInstanceUID", b"UI"),
    shown(Tag(0x0020, 0x0010), "StudyID", b"SH"),
    shown(Tag(0x0020, 0x0011), "SeriesNumber", b"IS"),
    shown(Tag(0x0020, 0x0012), "AcquisitionNumber", b"IS"),
    shown(Tag(0x0020, 0x0013), "InstanceNumber", b"IS"),
    shown(Tag(0x0020, 0x0020), "PatientOrientation", b"CS"),
    shown(Tag(0x0020, 0x0032), "ImagePositionPatient", b"DS"),
    shown(Tag(0x0020, 0x0037), "ImageOrientationPatient", b"DS"),
    inner(Tag(0x0020, 0x0052), "FrameOfReferenceUID", b"UI"),
    shown(Tag(0x0020, 0x0060), "Laterality", b"CS"),
    shown(Tag(0x0020, 0x0100), "TemporalPositionIdentifier", b"IS"),
    shown(Tag(0x0020, 0x0105), "NumberOfTemporalPositions", b"IS"),
    shown(Tag(0x0020, 0x1002), "ImagesInAcquisition", b"IS"),
    shown(Tag(0x0020, 0x1040), "PositionReferenceIndicator", b"LO"),
    shown(Tag(0x0020, 0x1041), "SliceLocation", b"DS"),
    shown(Tag(0x0020, 0x4000), "ImageComments", b"LT"),
    inner(Tag(0x0020, 0x9056), "StackID", b"SH"),
    inner(Tag(0x0020, 0x9057), "InStackPositionNumber", b"UL"),
    inner(Tag(0x0020, 0x9128), "TemporalPositionIndex", b"UL"),
    inner(Tag(0x0020, 0x9153), "NominalCardiacTriggerDelayTime", b"FD"),
    inner(Tag(0x0020, 0x9156), "FrameAcquisitionNumber", b"US"),
    inner(Tag(0x0020, 0x9157), "DimensionIndexValues", b"UL"),
    inner(Tag(0x0020, 0x9165), "DimensionIndexPointer", b"AT"),
    shown(
        Tag(0x0020, 0x9241),
        "NominalPercentageOfCardiacPhase",
        b"FL",
    ),
    inner(
        Tag(0x0020, 0x9245),
        "NominalPercentageOfRespiratoryPhase",
        b"FL",
    ),
    inner(Tag(0x0020, 0x9301), "ImagePositionVolume", b"FD"),
    inner(Tag(0x0020, 0x9302), "ImageOrientationVolume", b"FD"),
    inner(Tag(0x0020, 0x930D), "TemporalPositionTimeOffset", b"FD"),
    shown(Tag(0x0020, 0x9311), "DimensionOrganizationType", b"CS"),
    shown(Tag(0x0028, 0x0002), "SamplesPerPixel", b"US"),
    shown(Tag(0x0028, 0x0004), "PhotometricInterpretation", b"CS"),
    shown(Tag(0x0028, 0x0006), "PlanarConfiguration", b"US"),
    shown(Tag(0x0028, 0x0008), "NumberOfFrames", b"IS"),
    shown(Tag(0x0028, 0x0010), "Rows", b"US"),
    shown(Tag(0x0028, 0x0011), "Columns", b"US"),
    shown(Tag(0x0028, 0x0030), "PixelSpacing", b"DS"),
    shown(Tag(0x0028, 0x0034), "PixelAspectRatio", b"IS"),
    shown(Tag(0x0028, 0x0100), "BitsAllocated", b"US"),
    shown(Tag(0x0028, 0x0101), "BitsStored", b"US"),
    shown(Tag(0x0028, 0x0102), "HighBit", b"US"),
    shown(Tag(0x0028, 0x0103), "PixelRepresentation", b"US"),
    shown(Tag(0x0028, 0x0120), "PixelPaddingValue", b"US"),
    shown(Tag(0x0028, 0x0121), "PixelPaddingRangeLimit", b"US"),
    shown(Tag(0x0028, 0x0301), "BurnedInAnnotation", b"CS"),
    shown(Tag(0x0028, 0x1050), "WindowCenter", b"DS"),
    shown(Tag(0x0028, 0x1051), "WindowWidth", b"DS"),
    shown(Tag(0x0028, 0x1052), "RescaleIntercept", b"DS"),
    shown(Tag(0x0028, 0x1053), "RescaleSlope", b"DS"),
    shown(Tag(0x0028, 0x1054), "RescaleType", b"LO"),
    shown(Tag(0x0028, 0x1055), "WindowCenterWidthExplanation", b"LO"),
    shown(Tag(0x0028, 0x1056), "VOILUTFunction", b"CS"),
    inner(
        Tag(0x0028, 0x1101),
        "RedPaletteColorLookupTableDescriptor",
        b"US",
    ),
    shown(Tag(0x0028, 0x2110), "LossyImageCompression", b"CS"),
    shown(Tag(0x0028, 0x2112), "LossyImageCompressionRatio", b"DS"),
    shown(Tag(0x0028, 0x2114), "LossyImageCompressionMethod", b"CS"),
    inner(Tag(0x0028, 0x3002), "LUTDescriptor", b"US"),
    shown(Tag(0x0028, 0x3004), "ModalityLUTType", b"LO"),
    private(
        inner(Tag(0x0029, 0x0010), "SiemensCsaImageHeader", b"OB"),
        "SIEMENS CSA HEADER",
    ),
    inner(Tag(0x0040, 0x9210), "LUTLabel", b"SH"),
    inner(Tag(0x0040, 0x9224), "RealWorldValueIntercept", b"FD"),
    inner(Tag(0x0040, 0x9225), "RealWorldValueSlope", b"FD"),
    private(
        inner(Tag(0x0043, 0x002F), "GeImageType", b"SS"),
        "GEMS_PARM_01",
    ),
    private(
        inner(Tag(0x0043, 0x0039), "GeBValue", b"IS"),
        "GEMS_PARM_01",
    ),
    shown(Tag(0x0048, 0x0001), "ImagedVolumeWidth", b"FL"),
    shown(Tag(0x0048, 0x0002), "ImagedVolumeHeight", b"FL"),
    shown(Tag(0x0048, 0x0003), "ImagedVolumeDepth", b"FL"),
    shown(Tag(0x0048, 0x0006), "TotalPixelMatrixColumns", b"UL"),
    shown(Tag(0x0048, 0x0007), "TotalPixelMatrixRows", b"UL"),
    shown(Tag(0x0048, 0x0102), "ImageOrientationSlide", b"DS"),
    inner(
        Tag(0x0048, 0x021E),
        "ColumnPositionInTotalImagePixelMatrix",
        b"SL",
    ),
    inner(
        Tag(0x0048, 0x021F),
        "RowPositionInTotalImagePixelMatrix",
        b"SL",
    ),
    shown(Tag(0x0048, 0x0303), "TotalPixelMatrixFocalPlanes", b"UL"),
    vector(Tag(0x0054, 0x0010), "EnergyWindowVector", b"US"),
    vector(Tag(0x0054, 0x0020), "DetectorVector", b"US"),
    vector(Tag(0x0054, 0x0030), "PhaseVector", b"US"),
    vector(Tag(0x0054, 0x0050), "RotationVector", b"US"),
    vector(Tag(0x0054, 0x0060), "RRIntervalVector", b"US"),
    vector(Tag(0x0054, 0x0070), "TimeSlotVector", b"US"),
    vector(Tag(0x0054, 0x0080), "SliceVector", b"US"),
    shown(Tag(0x0054, 0x0081), "NumberOfSlices", b"US"),
    vector(Tag(0x0054, 0x0090), "AngularViewVector", b"US"),
    vector(Tag(0x0054, 0x0100), "TimeSliceVector", b"US"),
    shown(Tag(0x0054, 0x0101), "NumberOfTimeSlices", b"US"),
    shown(Tag(0x0054, 0x1000), "SeriesType", b"CS"),
    shown(Tag(0x0054, 0x1001), "Units", b"CS"),
    shown(Tag(0x0054, 0x1002), "CountsSource", b"CS"),
    shown(Tag(0x0054, 0x1101), "AttenuationCorrectionMethod", b"LO"),
    shown(Tag(0x0054, 0x1102), "DecayCorrection", b"CS"),
    shown(Tag(0x0054, 0x1103), "ReconstructionMethod", b"LO"),
    shown(Tag(0x0054, 0x1105), "ScatterCorrectionMethod", b"LO"),
    shown(Tag(0x0054, 0x1300), "FrameReferenceTime", b"DS"),
    shown(Tag(0x0054, 0x1321), "DecayFactor", b"DS"),
    shown(Tag(0x0054, 0x1330), "ImageIndex", b"US"),
    shown(Tag(0x0062, 0x0001), "SegmentationType", b"CS"),
    inner(Tag(0x0062, 0x0004), "SegmentNumber", b"US"),
    inner(Tag(0x0062, 0x0005), "SegmentLabel", b"LO"),
    inner(Tag(0x0062, 0x0008), "SegmentAlgorithmType", b"CS"),
    inner(Tag(0x0062, 0x000B), "ReferencedSegmentNumber", b"US"),
    inner(Tag(0x0062, 0x000D), "RecommendedDisplayCIELabValue", b"US"),
    shown(Tag(0x0062, 0x000E), "MaximumFractionalValue", b"US"),
    shown(Tag(0x0062, 0x0010), "SegmentationFractionalType", b"CS"),
    shown(Tag(0x0062, 0x0013), "SegmentsOverlap", b"CS"),
    private(inner(Tag(0x0065, 0x0009), "UihBValue", b"FD"), UIH),
    private(inner(Tag(0x0065, 0x0037), "UihGradient", b"FD"), UIH),
    private(inner(Tag(0x0065, 0x0050), "UihSlicesInVolume", b"DS"), UIH),
    private(inner(Tag(0x0065, 0x0051), "UihVFrameSequence", b"SQ"), UIH),
    private(
        inner(Tag(0x2001, 0x0003), "PhilipsBValue", b"FL"),
        "Philips Imaging DD 001",
    ),
    private(
        shown(Tag(0x2005, 0x000D), "PhilipsScaleIntercept", b"FL"),
        PHILIPS,
    ),
    private(
        shown(Tag(0x2005, 0x000E), "PhilipsScaleSlope", b"FL"),
        PHILIPS,
    ),
    private(
        inner(Tag(0x2005, 0x000F), "PhilipsFrameSequence", b"SQ"),
        "Philips MR Imaging DD 005",
    ),
    private(
        inner(Tag(0x2005, 0x00B0), "PhilipsGradientRl", b"FL"),
        PHILIPS,
    ),
    private(
        inner(Tag(0x2005, 0x00B1), "PhilipsGradientAp", b"FL"),
        PHILIPS,
    ),
    private(
        inner(Tag(0x2005, 0x00B2), "PhilipsGradientFh", b"FL"),
        PHILIPS,
    ),
    shown(Tag(0x3004, 0x0002), "DoseUnits", b"CS"),
    shown(Tag(0x3004, 0x0004), "DoseType", b"CS"),
    shown(Tag(0x3004, 0x000A), "DoseSummationType", b"CS"),
    vector(Tag(0x3004, 0x000C), "GridFrameOffsetVector", b"DS"),
    shown(Tag(0x3004, 0x000E), "DoseGridScaling", b"DS"),
    shown(Tag(0x3004, 0x0014), "TissueHeterogeneityCorrection", b"CS"),
];

/// The place in the table of the attribute with this tag, if it is read. That of a private one is
/// as in [`Attribute::creator`].
pub(crate) fn place_of_tag(tag: Tag) -> Option<u8> {
    let place = ATTRIBUTES.binary_search_by_key(&tag, |attribute| attribute.tag);
    place.ok().map(|place| place as u8)
}

/// The creator with this name, if attributes of its are read in this group.
pub(crate) fn private_creator(group: u16, name: &[u8]) -> Option<&'static str> {
    let from = ATTRIBUTES.partition_point(|attribute| attribute.tag.0 < group);
    let of_group = ATTRIBUTES.iter().skip(from);
    let mut of_group = of_group.take_while(|attribute| attribute.tag.0 == group);
    let found = of_group.find(|attribute| attribute.creator.as_bytes() == name);
    found.map(|attribute| attribute.creator)
}

/// For each attribute, its place in the order of keywords.
static BY_KEYWORD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut places: Vec<u8> = (0..ATTRIBUTES.len() as u8).collect();
    places.sort_unstable_by_key(|place| ATTRIBUTES[usize::from(*place)].keyword);
    places
});

/// The place in the table of the attribute with this keyword, if it is read.
pub(crate) fn place_of(keyword: &str) -> Option<u8> {
    let key = |place: &u8| ATTRIBUTES[usize::from(*place)].keyword;
    let found = BY_KEYWORD.binary_search_by(|place| key(place).cmp(keyword));
    found.ok().map(|index| BY_KEYWORD[index])
}

/// Tells this table from any other: what is stored by places in it is of use only with it.
pub(crate) const FINGERPRINT: u32 = {
    // A place is a byte.
    assert!(ATTRIBUTES.len() <= 256);
    let mut hash = 0x811C_9DC5_u32;
    let mut place = 0;
    while place < ATTRIBUTES.len() {
        let Attribute { tag, vr, shown, .. } = ATTRIBUTES[place];
        let [a, b] = tag.0.to_le_bytes();
        let [c, d] = tag.1.to_le_bytes();
        let bytes = [a, b, c, d, vr[0], vr[1], shown as u8];
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
            at += 1;
        }
        place += 1;
    }
    hash
};
