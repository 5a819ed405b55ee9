"""Networks that other people wrote, by name, for small pictures: `--model foreign:NAME` from this folder.

Each function needs the library that it is named after. Widths and depths are the libraries' own; where a network ends
in a pooling made for pictures of 224 pixels, it gets one for any size.
"""

import importlib
import importlib.util
from types import ModuleType

from torch import nn

CLASSES = 10


def pytorchcv_resnet10() -> nn.Module:
    """He et al. (2016), in its smallest size."""
    return _pytorchcv("resnet", "resnet10")


def pytorchcv_preresnet10() -> nn.Module:
    """He et al. (2016): normalisation and activation before each convolution."""
    return _pytorchcv("preresnet", "preresnet10")


def pytorchcv_mobilenetv2() -> nn.Module:
    """Sandler et al. (2018), a quarter as wide."""
    return _pytorchcv("mobilenetv2", "mobilenetv2_wd4")


def pytorchcv_shufflenetv2() -> nn.Module:
    """Ma et al. (2018), half as wide."""
    return _pytorchcv("shufflenetv2", "shufflenetv2_wd2")


def pytorchcv_densenet121() -> nn.Module:
    """Huang et al. (2017)."""
    return _pytorchcv("densenet", "densenet121")


def pytorchcv_seresnet10() -> nn.Module:
    """Hu et al. (2018): squeeze and excitation."""
    return _pytorchcv("seresnet", "seresnet10")


def efficientnet_b0() -> nn.Module:
    """Tan and Le (2019), of the package efficientnet-pytorch."""
    library = importlib.import_module("efficientnet_pytorch")
    model: nn.Module = library.EfficientNet.from_name("efficientnet-b0", num_classes=CLASSES)
    return model


def vit() -> nn.Module:
    """Dosovitskiy et al. (2021), of the package vit-pytorch, with two layers."""
    sizes = {"image_size": 32, "patch_size": 8, "dim": 64, "depth": 2, "heads": 4, "mlp_dim": 128}
    model: nn.Module = _vit_pytorch("vit").ViT(num_classes=CLASSES, dropout=0.1, **sizes)
    return model


def simple_vit() -> nn.Module:
    """Beyer et al. (2022), of the package vit-pytorch, with two layers."""
    sizes = {"image_size": 32, "patch_size": 8, "dim": 64, "depth": 2, "heads": 4, "mlp_dim": 128}
    model: nn.Module = _vit_pytorch("simple_vit").SimpleViT(num_classes=CLASSES, **sizes)
    return model


def monai_densenet121() -> nn.Module:
    """MONAI's DenseNet for two dimensions."""
    model: nn.Module = _monai().DenseNet121(spatial_dims=2, in_channels=3, out_channels=CLASSES)
    return model


def monai_resnet10() -> nn.Module:
    """MONAI's ResNet for two dimensions."""
    model: nn.Module = _monai().resnet10(spatial_dims=2, n_input_channels=3, num_classes=CLASSES)
    return model


def monai_senet() -> nn.Module:
    """MONAI's squeeze and excitation ResNet for two dimensions."""
    model: nn.Module = _monai().SEResNet50(spatial_dims=2, in_channels=3, num_classes=CLASSES)
    return model


def monai_unet() -> nn.Module:
    """MONAI's U-Net: a mask of the picture's size, with skip connections."""
    channels, strides = (8, 16, 32), (2, 2)
    model: nn.Module = _monai().UNet(spatial_dims=2, in_channels=3, out_channels=2, channels=channels, strides=strides)
    return model


def timm_resnet10t() -> nn.Module:
    """The smallest ResNet of timm, which needs torchvision."""
    model: nn.Module = importlib.import_module("timm").create_model("resnet10t", num_classes=CLASSES)
    return model


def _pytorchcv(module: str, function: str) -> nn.Module:
    make = getattr(importlib.import_module(f"pytorchcv.models.{module}"), function)
    model: nn.Module = make(pretrained=False, num_classes=CLASSES, in_size=(32, 32))
    features = model.get_submodule("features")
    if hasattr(features, "final_pool"):
        features.final_pool = nn.AdaptiveAvgPool2d(1)
    return model


def _monai() -> ModuleType:
    return importlib.import_module("monai.networks.nets")


def _vit_pytorch(name: str) -> ModuleType:
    """One file of the package, whose `__init__` would need torchvision."""
    package = importlib.util.find_spec("vit_pytorch")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'vit_pytorch'", name="vit_pytorch")
    spec = importlib.util.spec_from_file_location(
        f"vit_pytorch_{name}", f"{package.submodule_search_locations[0]}/{name}.py"
    )
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named 'vit_pytorch.{name}'", name="vit_pytorch")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
