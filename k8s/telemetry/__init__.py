"""What the services export, as data: dashboards and alerts are generated from it and checked against it."""
