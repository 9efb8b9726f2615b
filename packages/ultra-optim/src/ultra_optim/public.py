"""The public names of ``ultra_optim``: every optimizer class, and the functions to build optimizers."""

from ultra_optim.adafactor import Adafactor
from ultra_optim.adam_mini import AdamMini
from ultra_optim.adamuon import AdaMuon
from ultra_optim.adamw import AdamW
from ultra_optim.adamw_8bit import AdamW8bit
from ultra_optim.adan import Adan
from ultra_optim.ademamix import AdEMAMix
from ultra_optim.adopt import ADOPT
from ultra_optim.apollo import APOLLO
from ultra_optim.apollo_8bit import APOLLO8bit
from ultra_optim.apollo_mini import APOLLOMini
from ultra_optim.came import CAME
from ultra_optim.cautious_adamw import CautiousAdamW
from ultra_optim.galore_adamw import GaLoreAdamW
from ultra_optim.gpa_adamw import GPAAdamW
from ultra_optim.lamb import LAMB
from ultra_optim.lion import Lion
from ultra_optim.mars_adamw import MARSAdamW
from ultra_optim.mars_muon import MARSMuon
from ultra_optim.muon import Muon
from ultra_optim.muonclip import MuonClip
from ultra_optim.normuon import NorMuon
from ultra_optim.prodigy import Prodigy
from ultra_optim.psgd_kron import PSGDKron
from ultra_optim.radam import RAdam
from ultra_optim.roles.build import build, create
from ultra_optim.roles.groups import describe, param_groups
from ultra_optim.schedulefree_adamw import ScheduleFreeAdamW
from ultra_optim.scion import Scion
from ultra_optim.sgd_momentum import SGDMomentum
from ultra_optim.shampoo import Shampoo
from ultra_optim.soap import SOAP
from ultra_optim.sophia import Sophia
from ultra_optim.stable_adamw import StableAdamW
from ultra_optim.turbo_muon import TurboMuon

__all__ = [
    "ADOPT",
    "APOLLO",
    "CAME",
    "LAMB",
    "SOAP",
    "APOLLO8bit",
    "APOLLOMini",
    "AdEMAMix",
    "AdaMuon",
    "Adafactor",
    "AdamMini",
    "AdamW",
    "AdamW8bit",
    "Adan",
    "CautiousAdamW",
    "GPAAdamW",
    "GaLoreAdamW",
    "Lion",
    "MARSAdamW",
    "MARSMuon",
    "Muon",
    "MuonClip",
    "NorMuon",
    "PSGDKron",
    "Prodigy",
    "RAdam",
    "SGDMomentum",
    "ScheduleFreeAdamW",
    "Scion",
    "Shampoo",
    "Sophia",
    "StableAdamW",
    "TurboMuon",
    "build",
    "create",
    "describe",
    "param_groups",
]
