# By epochs, as the embedded dataset is small.
_base_ = './runtime_detect.py'

default_hooks = dict(
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=2),
    logger=dict(interval=25),
)
log_processor = dict(by_epoch=True)
