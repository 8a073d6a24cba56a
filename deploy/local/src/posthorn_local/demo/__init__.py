"""The main job, shown: from sign-in to inbox to statistics, through the same API that every client uses."""
