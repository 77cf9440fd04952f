"""Images and annotations: COCO-format sets, and the few photos that come with an installed package."""
