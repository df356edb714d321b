"""ASPP-UNet for sagittal spine MRI: a reproduction of Cai et al. 2023."""
