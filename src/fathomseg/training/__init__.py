"""From a recipe to a training: its settings, streams, network and objectives, and the folder it is kept in."""
