"""What can be wrong, each with a stable code. Every area has a module, with the tree of its errors.

CampaignsError
├── NotFound    what there is not in the caller's organisation
├── Conflict    what cannot be done as things stand
├── TooLarge    more than is allowed
└── Invalid     what makes no sense
"""

from posthorn_campaigns.domain.errors.attributes import (
    AttributeExists,
    AttributeInUse,
    AttributeNotFound,
    AttributeNotIndexable,
    AttributesDoNotFit,
    InvalidAttributes,
    TooManyDeclarations,
    TooManyIndexed,
)
from posthorn_campaigns.domain.errors.audience import (
    AccessRequestNotFound,
    ContactExists,
    ContactNotFound,
    ErasureNotFound,
    ListInUse,
    ListNotFound,
    TooManySubscribers,
)
from posthorn_campaigns.domain.errors.campaigns import (
    CampaignNotEditable,
    CampaignNotFound,
    CampaignRunning,
    MessageRefused,
    NoAudience,
    RetryTooLate,
    ScheduleInvalid,
    StaleCampaign,
    TemplateInUse,
    TemplateInvalid,
    TemplateNotFound,
)
from posthorn_campaigns.domain.errors.files import (
    DuplicateColumn,
    ExportNotFound,
    ImportNotFound,
    ImportTooLarge,
    InvalidColumn,
    MissingEmailColumn,
    TooManyColumns,
    TooManyStreams,
    UnknownColumn,
    UnreadableFile,
)
from posthorn_campaigns.domain.errors.kinds import (
    CampaignsError,
    Conflict,
    Invalid,
    InvalidTransition,
    NoSuchReference,
    NotFound,
    TooLarge,
)
from posthorn_campaigns.domain.errors.segments import (
    InvalidRule,
    RuleProblem,
    RuleTooLarge,
    SegmentCycle,
    SegmentInUse,
    SegmentNotFound,
    SegmentTooSlow,
)

__all__ = [
    "AccessRequestNotFound",
    "AttributeExists",
    "AttributeInUse",
    "AttributeNotFound",
    "AttributeNotIndexable",
    "AttributesDoNotFit",
    "CampaignNotEditable",
    "CampaignNotFound",
    "CampaignRunning",
    "CampaignsError",
    "Conflict",
    "ContactExists",
    "ContactNotFound",
    "DuplicateColumn",
    "ErasureNotFound",
    "ExportNotFound",
    "ImportNotFound",
    "ImportTooLarge",
    "Invalid",
    "InvalidAttributes",
    "InvalidColumn",
    "InvalidRule",
    "InvalidTransition",
    "ListInUse",
    "ListNotFound",
    "MessageRefused",
    "MissingEmailColumn",
    "NoAudience",
    "NoSuchReference",
    "NotFound",
    "RetryTooLate",
    "RuleProblem",
    "RuleTooLarge",
    "ScheduleInvalid",
    "SegmentCycle",
    "SegmentInUse",
    "SegmentNotFound",
    "SegmentTooSlow",
    "StaleCampaign",
    "TemplateInUse",
    "TemplateInvalid",
    "TemplateNotFound",
    "TooLarge",
    "TooManyColumns",
    "TooManyDeclarations",
    "TooManyIndexed",
    "TooManyStreams",
    "TooManySubscribers",
    "UnknownColumn",
    "UnreadableFile",
]
