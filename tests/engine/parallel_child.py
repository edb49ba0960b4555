"""One process of a job that trains together: `python parallel_child.py JOB`, JOB as JSON; see `test_sharding.py`."""

import contextlib
import json
import os
import sys
import time


def main():
    """Read the job, train, save, report."""
    job = json.loads(sys.argv[1])
    if job.get("devices"):
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={job['devices']}"
    import diabolo
    from diabolo import StackedAutoencoder
    from diabolo.data import blocks
    from diabolo.engine import loader, sharding, trainer

    blocks.CHUNK_BYTES = loader.CHUNK_BYTES = 30_000
    blocks.BLOCK_BYTES = 2_000
    if "DIABOLO_COORDINATOR" in os.environ:
        sharding.connect()
    if job.get("slowly"):
        real = trainer.Trainer.run_epochs

        def stretch(run):
            time.sleep(0.05)
            if run.state.epoch > 1:
                print("trains", flush=True)
            return real(run)

        trainer.Trainer.run_epochs = stretch

    read = []
    real_block = blocks.BlockReader.read_checked
    blocks.BlockReader.read_checked = lambda self, i: read.append(i) or real_block(self, i)
    settings = {"random_state": job.get("seed", 0), "max_epochs": job["epochs"]}
    model = StackedAutoencoder(hidden_layer_sizes=(8,), batch_size=32, **settings)
    keep = {"checkpoint_dir": job["keep"], "checkpoint_every": 0, "resume": True} if job.get("keep") else {}
    with diabolo.use_devices() if job.get("devices") else contextlib.nullcontext():
        model.fit(job["rows"], **keep)
        n_devices = sharding.current().n_devices
    if sharding.current().is_main_process:
        model.save(job["out"])
    print(json.dumps({"read": len(read), "devices": n_devices, "loss": model.history_["loss"][-1]}))


if __name__ == "__main__":
    main()
